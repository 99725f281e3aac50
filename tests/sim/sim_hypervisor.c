/* The hypervisor vtable as hypervisor_libvirt.c behaves, over domains that outlive the agent.
 *
 *   create    libvirtd goes on with it whatever becomes of its caller, also where it has only taken
 *             it into its queue: the domain is there, paused and starting up, until OVS has
 *             connected to each of its vhost-user sockets
 *   attach    the same: a QEMU that waits for OVS stands still, and its XML shows the NIC already
 *   events    come late, one behind the other; one that is lost was lost with its connection, so
 *             RECONNECTED follows
 *   libvirtd  is away for a while: guests run on, a create or attach that it was in is cut off
 *
 * It leaves out: domains of other names, saves, migrations, and all limits of connections. */
#include "tests/sim/sim_domain.h"

#include <string.h>

enum {
    CREATE_LEAST_US = SIM_S / 5,
    CREATE_MOST_US = 4 * SIM_S,
    QUEUE_MOST_US = 20 * SIM_S,
    ANSWER_MOST_US = SIM_S,
    EVENT_MOST_US = 3 * SIM_S,
    AWAY_LEAST_US = SIM_S,
    AWAY_MOST_US = 60 * SIM_S,
    KILL_US = 12 * SIM_S, /* What a destroy takes whose QEMU does not hear SIGTERM. */
    POLL_US = SIM_S / 2,  /* The watchdog's. */
    CHANCES_A_POLL = 100,
    JOB_MOST_US = 30 * SIM_S,
    RECONNECT_MOST_US = 30 * SIM_S,
    INTRUDER_LEAST_US = 20 * SIM_S,
    INTRUDER_MOST_US = 300 * SIM_S,
    TEXT_BYTES = 256,
};

#define SELF(interface) ((SimHypervisor *)(void *)(interface))

/* Something that will happen to a domain. */
typedef struct {
    SimGuest *domain; /* Referenced. */
    SimDomainHappening happen;
    guint32 index;
} Happening;

/* A call of create. Both who called and libvirtd's queue hold it. */
typedef struct {
    SimHypervisor *self;
    guint refs;
    guint agent;     /* Which of the host's. */
    gint64 asked_ms; /* See SimDomain. */
    char vm_uuid[UUID_TEXT_BYTES];
    SimMachine *machine; /* NULL: it has begun, or never will. */
    SimGuest *domain;    /* Referenced; NULL: there is none. */
    char *problem;
    SimCondition begun;
} Create;

/* Something that an agent will be told. */
typedef struct {
    SimHypervisor *self;
    guint agent; /* Which of the host's. */
    guint outage;
    char vm_uuid[UUID_TEXT_BYTES]; /* "": RECONNECTED. */
    VbDomainEventKind kind;
    StopReason reason;
    guint32 nic_index;
} Event;

/* ---- Domains */

SimGuest *sim_domain_ref(SimGuest *domain)
{
    domain->refs++;
    return domain;
}

static void close_files(SimGuest *domain)
{
    g_ptr_array_set_size(domain->disks, 0);
    sim_node_unref(domain->nvram);
    domain->nvram = NULL;
}

void sim_domain_unref(SimGuest *domain)
{
    if (--domain->refs == 0) {
        close_files(domain);
        g_ptr_array_unref(domain->disks);
        sim_machine_free(domain->machine);
        g_free(domain);
    }
}

SimGuest *sim_domain_find(const SimHypervisor *self, const char *vm_uuid)
{
    for (guint i = 0; i < self->domains->len; i++) {
        SimGuest *domain = g_ptr_array_index(self->domains, i);
        if (strcmp(domain->vm_uuid, vm_uuid) == 0) {
            return domain;
        }
    }
    return NULL;
}

SimDomain sim_domain_facts(const SimGuest *domain)
{
    const SimMachine *machine = domain->machine;
    return (SimDomain){
        .vm_uuid = domain->vm_uuid,
        .host_uuid = domain->hypervisor->host->uuid,
        .ours = domain->ours,
        .starting_up = domain->starting_up,
        .unattended = domain->unattended,
        .epoch = machine != NULL ? machine->epoch : 0,
        .nvram_path = machine != NULL ? machine->nvram_path : NULL,
        .nvram_inode = domain->nvram != NULL ? domain->nvram->inode : 0,
        .root_inode = domain->root_inode,
        .created_ms = domain->created_ms,
        .asked_ms = domain->asked_ms,
    };
}

static SimGuest *domain_new(SimHypervisor *self, const char *vm_uuid, SimMachine *machine)
{
    SimGuest *domain = g_new0(SimGuest, 1);
    domain->hypervisor = self;
    domain->refs = 1;
    domain->is_up = TRUE;
    domain->ours = machine != NULL;
    domain->machine = machine;
    domain->creator = self->host->n_starts;
    domain->created_ms = sim_now_ms(self->host->sim);
    domain->disks = g_ptr_array_new_with_free_func((GDestroyNotify)sim_node_unref);
    g_strlcpy(domain->vm_uuid, vm_uuid, sizeof(domain->vm_uuid));
    return domain;
}

static void happening_free(Happening *happening)
{
    sim_domain_unref(happening->domain);
    g_free(happening);
}

static void happening_due(void *data)
{
    Happening *happening = data;
    g_queue_remove(&happening->domain->hypervisor->happenings, happening);
    happening->happen(happening->domain, happening->index);
    happening_free(happening);
}

void sim_domain_after(SimGuest *domain, gint64 delay_us, SimDomainHappening happen, guint32 index)
{
    Happening *happening = g_new0(Happening, 1);
    *happening = (Happening){.domain = sim_domain_ref(domain), .happen = happen, .index = index};
    g_queue_push_tail(&domain->hypervisor->happenings, happening);
    sim_after(domain->hypervisor->host->sim, delay_us, happening_due, happening);
}

/* ---- Events */

static void event_due(void *data)
{
    Event *event = data;
    SimHypervisor *self = event->self;
    SimHost *host = self->host;
    g_queue_remove(&self->events, event);
    if (host->agent != NULL && host->n_starts == event->agent && !self->is_away &&
        sim_host_is_alive(host) && event->outage == self->n_outages) {
        agent_domain_event(host->agent, event->vm_uuid[0] != '\0' ? event->vm_uuid : NULL,
                           event->kind, event->reason, event->nic_index);
    }
    g_free(event);
}

static void event_push(SimHypervisor *self, gint64 most_us, const Event *what)
{
    SimHost *host = self->host;
    if (host->agent == NULL || self->is_away) {
        return; /* Nobody is connected. */
    }
    Event *event = g_memdup2(what, sizeof(*what));
    event->self = self;
    event->agent = host->n_starts;
    event->outage = self->n_outages;
    gint64 at_us = sim_now_us(host->sim) + sim_delay_us(host->sim, most_us);
    self->last_event_us = MAX(self->last_event_us, at_us);
    g_queue_push_tail(&self->events, event);
    sim_at(host->sim, self->last_event_us, event_due, event);
}

static void tell_reconnected(SimHypervisor *self, gint64 most_us)
{
    Event event = {.kind = DOMAIN_EVENT_RECONNECTED};
    event_push(self, most_us, &event);
}

void sim_domain_tell(SimGuest *domain, VbDomainEventKind kind, StopReason reason, guint32 nic_index)
{
    SimHypervisor *self = domain->hypervisor;
    Event event = {.kind = kind, .reason = reason, .nic_index = nic_index};
    g_strlcpy(event.vm_uuid, domain->vm_uuid, sizeof(event.vm_uuid));
    if (!domain->ours || self->host->agent == NULL || self->is_away) {
        return; /* Nobody is connected. */
    }
    if (sim_fault(self->host->sim, FAULT_EVENT_LOST)) {
        self->n_outages++; /* With all that are on their way: the connection broke. */
        tell_reconnected(self, RECONNECT_MOST_US);
        return;
    }
    event_push(self, EVENT_MOST_US, &event);
    if (sim_fault(self->host->sim, FAULT_EVENT_TWICE)) {
        event_push(self, EVENT_MOST_US, &event);
    }
}

/* ---- The end of a domain */

static void give_back(SimGuest *domain)
{
    SimHypervisor *self = domain->hypervisor;
    if (domain->nvram != NULL && !self->is_away && self->host->is_up) {
        sim_node_set_owner(domain->nvram, (SimOwner){.mode = domain->nvram->owner.mode},
                           self->host->index);
    }
}

void sim_domain_end(SimGuest *domain, gboolean orderly, StopReason reason, const char *why)
{
    SimHypervisor *self = domain->hypervisor;
    SimHost *host = self->host;
    SimDomain facts = sim_domain_facts(domain);
    if (!domain->is_up) {
        return;
    }
    domain->is_up = FALSE;
    sim_host_say(host, domain->vm_uuid, "the domain ends: %s%s", why,
                 domain->nvram == NULL ? ""
                 : orderly             ? "; its NVRAM is synced"
                                       : "; its NVRAM is not synced");
    give_back(domain);
    if (orderly && domain->nvram != NULL) {
        sim_node_sync(domain->nvram);
    } else if (domain->nvram != NULL) {
        host->unsynced_us = sim_now_us(host->sim);
    }
    sim_check_domain_ended(host->world->check, host, &facts);
    close_files(domain);
    if (reason != STOP_REASON_UNSPECIFIED) {
        sim_domain_tell(domain, DOMAIN_EVENT_STOPPED, reason, 0);
    }
    sim_signal(host->sim, &domain->changed);
    g_ptr_array_remove(self->domains, domain);
    sim_domain_unref(domain);
}

/* Without flags libvirt sends SIGTERM first, which QEMU may or may not obey in time. */
static void pull_plug(SimGuest *domain, const char *why)
{
    gboolean orderly = !domain->changing && sim_below(domain->hypervisor->host->sim, 2) == 0;
    sim_domain_end(domain, orderly, STOP_REASON_OUTSIDE, why);
}

static void is_killed(SimGuest *domain, guint32 index)
{
    (void)index;
    pull_plug(domain, "it did not hear SIGTERM, and was killed");
}

static void destroy(SimGuest *domain, const char *why)
{
    if (domain->changing) {
        sim_domain_after(domain, KILL_US, is_killed, 0);
    } else {
        pull_plug(domain, why);
    }
}

/* ---- What QEMU waits for */

static gboolean is_connected(const SimGuest *domain)
{
    const SimMachine *machine = domain->machine;
    for (guint i = 0; i < machine->devices->len; i++) {
        const SimDevice *nic = &g_array_index(machine->devices, SimDevice, i);
        if (nic->nic_type == NIC_TYPE_VHOST_USER &&
            !sim_switch_serves(domain->hypervisor->host->ports, nic->path)) {
            return FALSE;
        }
    }
    return TRUE;
}

static void start_go_on(SimGuest *domain, guint32 index)
{
    (void)index;
    if (domain->is_up && domain->starting_up && !domain->stuck && is_connected(domain)) {
        domain->starting_up = FALSE;
        sim_host_say(domain->hypervisor->host, domain->vm_uuid, "the domain runs");
        sim_domain_tell(domain, DOMAIN_EVENT_STARTED, STOP_REASON_UNSPECIFIED, 0);
        sim_world_touch(domain->hypervisor->host->world, domain->vm_uuid);
        sim_signal(domain->hypervisor->host->sim, &domain->changed);
        sim_guest_boot_soon(domain);
    }
}

static void attach_go_on(SimGuest *domain)
{
    const SimHost *host = domain->hypervisor->host;
    const SimDevice *nic = sim_machine_nic(domain->machine, domain->attaching);
    if (nic == NULL || sim_switch_serves(host->ports, nic->path)) {
        domain->changing = FALSE;
        sim_signal(host->sim, &domain->changed);
    }
}

void sim_hypervisor_look_at_ports(SimHypervisor *self)
{
    for (guint i = 0; i < self->domains->len; i++) {
        SimGuest *domain = g_ptr_array_index(self->domains, i);
        /* One that has just begun is still at it for a while. */
        gint64 age_us = (sim_now_ms(self->host->sim) - domain->created_ms) * SIM_MS;
        if (domain->starting_up && domain->ours && age_us > CREATE_LEAST_US + CREATE_MOST_US) {
            start_go_on(domain, 0);
        } else if (domain->changing) {
            attach_go_on(domain);
        }
    }
}

/* ---- libvirtd comes and goes */

static void create_unref(Create *create)
{
    if (--create->refs == 0) {
        g_clear_pointer(&create->domain, sim_domain_unref);
        sim_machine_free(create->machine);
        g_free(create->problem);
        g_free(create);
    }
}

/* What it has not begun dies with it. */
static void creates_drop(SimHypervisor *self)
{
    for (GList *at = self->creates.head; at != NULL; at = at->next) {
        Create *create = at->data;
        g_clear_pointer(&create->machine, sim_machine_free);
        sim_signal(self->host->sim, &create->begun);
    }
}

static void come_back(void *data)
{
    SimHypervisor *self = data;
    if (self->is_away && sim_now_us(self->host->sim) >= self->away_until_us) {
        self->is_away = FALSE;
        sim_host_say(self->host, NULL, "libvirtd is back");
        tell_reconnected(self, SIM_S);
    }
}

void sim_hypervisor_go_away(SimHypervisor *self, SimFault cause)
{
    Sim *sim = self->host->sim;
    if (self->is_away || !self->host->is_up) {
        return;
    }
    sim_fault_hit(cause);
    self->is_away = TRUE;
    self->n_outages++;
    creates_drop(self);
    self->away_until_us = sim_now_us(sim) + AWAY_LEAST_US + sim_silence_us(sim, AWAY_MOST_US);
    sim_host_say(self->host, NULL, "libvirtd is away for %" G_GINT64_FORMAT " ms",
                 (self->away_until_us - sim_now_us(sim)) / SIM_MS);
    for (guint i = 0; i < self->domains->len; i++) {
        SimGuest *domain = g_ptr_array_index(self->domains, i);
        domain->stuck = domain->starting_up;
        if (domain->changing) {
            sim_machine_remove_nic(domain->machine, domain->attaching);
            domain->changing = FALSE;
        }
        sim_signal(sim, &domain->changed);
    }
    sim_at(sim, self->away_until_us, come_back, self);
}

/* ---- Calls */

static gboolean fail(GError **error, ErrorCode code, const char *vm_uuid, const char *what,
                     const char *words)
{
    g_set_error(error, VB_ERROR, (gint)code, "libvirt cannot %s VM %s: %s", what, vm_uuid, words);
    return FALSE;
}

static gboolean fail_away(GError **error, const char *vm_uuid, const char *what)
{
    return fail(error, ERROR_CODE_HYPERVISOR_UNAVAILABLE, vm_uuid, what, "it does not answer");
}

static gboolean fail_foreign(GError **error, const char *vm_uuid)
{
    g_set_error(error, VB_ERROR, ERROR_CODE_FOREIGN_DOMAIN,
                "the domain of uuid %s was not made by virtbus and is left alone", vm_uuid);
    return FALSE;
}

/* FALSE and an error: nothing is to be done. */
static gboolean call_begin(SimHypervisor *self, const char *vm_uuid, const char *what,
                           GError **error)
{
    Sim *sim = self->host->sim;
    if (!sim_host_call(self->host)) {
        return fail_away(error, vm_uuid, what);
    }
    if (sim_fault_tries(sim, FAULT_LIBVIRT_DOWN)) {
        sim_hypervisor_go_away(self, FAULT_LIBVIRT_DOWN);
    }
    if (sim_fault_tries(sim, FAULT_DOMAIN_VANISHES)) {
        sim_hypervisor_vanish(self);
    }
    if (self->is_away) {
        return fail_away(error, vm_uuid, what);
    }
    return !sim_fault(sim, FAULT_LIBVIRT_FAILS) ||
           fail(error, ERROR_CODE_HYPERVISOR, vm_uuid, what, "an internal error");
}

/* Behind what was done: the answer may be lost. */
static gboolean call_end(SimHypervisor *self, const char *vm_uuid, const char *what, GError **error)
{
    SimHost *host = self->host;
    if (!sim_sleep(host->process, sim_delay_us(host->sim, ANSWER_MOST_US)) || self->is_away ||
        sim_fault(host->sim, FAULT_LIBVIRT_LATE)) {
        return fail_away(error, vm_uuid, what);
    }
    return TRUE;
}

static gboolean sim_look(VbHypervisor *interface, VbArena *arena, const char *vm_uuid,
                         VbDomainFacts *ret_facts, GError **error)
{
    SimHypervisor *self = SELF(interface);
    *ret_facts = (VbDomainFacts){.presence = DOMAIN_NONE};
    if (!call_begin(self, vm_uuid, "look for", error)) {
        return FALSE;
    }
    const SimGuest *domain = sim_domain_find(self, vm_uuid);
    if (domain != NULL && !domain->ours) {
        ret_facts->presence = DOMAIN_FOREIGN;
    } else if (domain != NULL) {
        ret_facts->presence = DOMAIN_OURS;
        ret_facts->starting_up = domain->starting_up;
        ret_facts->changing = domain->changing;
        sim_machine_facts(domain->machine, arena, ret_facts);
    }
    return TRUE;
}

static char **sim_list(VbHypervisor *interface, GError **error)
{
    SimHypervisor *self = SELF(interface);
    if (!call_begin(self, "(all)", "list", error)) {
        if (error != NULL && *error != NULL) {
            (*error)->code = ERROR_CODE_HYPERVISOR_UNAVAILABLE;
        }
        return NULL;
    }
    g_autoptr(GStrvBuilder) uuids = g_strv_builder_new();
    for (guint i = 0; i < self->domains->len; i++) {
        const SimGuest *domain = g_ptr_array_index(self->domains, i);
        char path[TEXT_BYTES];
        if (!domain->ours) {
            continue;
        }
        g_strv_builder_add(uuids, domain->vm_uuid);
        g_snprintf(path, sizeof(path), SIM_STATE_DIR "/%s.vm", domain->vm_uuid);
        if (sim_files_find(self->host, path) == NULL) {
            sim_mark(MARK_DOMAIN_WITHOUT_JOURNAL);
        }
    }
    return g_strv_builder_end(uuids);
}

/* ---- Create */

/* libvirtd begins, and QEMU opens what it needs. There is a domain, or a problem. */
static void create_begin(Create *create)
{
    SimHypervisor *self = create->self;
    SimHost *host = self->host;
    const char *vm_uuid = create->vm_uuid;
    if (sim_domain_find(self, vm_uuid) != NULL) {
        g_clear_pointer(&create->machine, sim_machine_free);
        create->problem =
            g_strdup_printf("operation failed: domain '%s' is already active", vm_uuid);
        return;
    }
    SimGuest *domain = domain_new(self, vm_uuid, g_steal_pointer(&create->machine));
    domain->starting_up = TRUE;
    domain->asked_ms = create->asked_ms;
    domain->creator = create->agent;
    domain->unattended = host->process == NULL || create->agent != host->n_starts;
    create->problem = sim_guest_open_files(domain);
    if (create->problem != NULL) {
        give_back(domain);
        sim_domain_unref(domain);
        return;
    }
    g_ptr_array_add(self->domains, domain);
    create->domain = sim_domain_ref(domain);
    SimDomain facts = sim_domain_facts(domain);
    sim_host_say(host, vm_uuid,
                 "creates the domain at epoch %" G_GUINT64_FORMAT
                 ", NVRAM inode %" G_GINT64_MODIFIER "x",
                 facts.epoch, facts.nvram_inode);
    sim_check_domain_created(host->world->check, host, &facts);
    sim_domain_after(domain, CREATE_LEAST_US + sim_delay_us(host->sim, CREATE_MOST_US), start_go_on,
                     0);
}

/* Whoever called may be dead by now: what is in libvirtd's queue is done all the same. */
static void create_due(void *data)
{
    Create *create = data;
    SimHost *host = create->self->host;
    g_queue_remove(&create->self->creates, create);
    if (create->machine != NULL) {
        create_begin(create);
        if (create->domain != NULL && create->domain->unattended) {
            sim_mark(MARK_CREATED_AFTER_DEATH);
        }
        sim_signal(host->sim, &create->begun);
    }
    create_unref(create);
}

/* All of libvirtd's workers are busy. */
static void create_wait(Create *create)
{
    SimHypervisor *self = create->self;
    SimHost *host = self->host;
    gint64 delay_us = sim_between(host->sim, 1, QUEUE_MOST_US);
    sim_host_say(host, create->vm_uuid, "libvirt begins with the domain in %" G_GINT64_FORMAT " ms",
                 delay_us / SIM_MS);
    create->refs++;
    g_queue_push_tail(&self->creates, create);
    sim_after(host->sim, delay_us, create_due, create);
    while (create->machine != NULL && sim_host_is_alive(host)) {
        sim_wait(host->process, &create->begun, sim_now_us(host->sim) + POLL_US);
        for (guint i = 0; i < CHANCES_A_POLL && sim_host_call_at_once(host); i++) {
            /* It may die at any time of the wait. */
        }
    }
}

static void is_cut_off(SimGuest *domain, guint32 index)
{
    (void)index;
    if (domain->is_up && domain->starting_up) {
        sim_hypervisor_go_away(domain->hypervisor, FAULT_LIBVIRT_KILLED);
    }
}

/* Until it runs or not. FALSE and why. */
static gboolean wait_for_start(SimHypervisor *self, SimGuest *domain, gint64 timeout_ms,
                               GError **error)
{
    SimHost *host = self->host;
    gint64 end_us = sim_now_us(host->sim) + timeout_ms * SIM_MS;
    while (domain->is_up && domain->starting_up && !self->is_away && sim_host_is_alive(host)) {
        if (sim_now_us(host->sim) >= end_us) {
            pull_plug(domain, "its start took too long");
            g_set_error(error, VB_ERROR, ERROR_CODE_TIMEOUT,
                        "the start of VM %s took libvirt longer than %" G_GINT64_FORMAT
                        " ms and was ended",
                        domain->vm_uuid, timeout_ms);
            return FALSE;
        }
        sim_wait(host->process, &domain->changed, end_us);
    }
    if (self->is_away || !sim_host_is_alive(host)) {
        return fail_away(error, domain->vm_uuid, "start");
    }
    return domain->is_up ||
           fail(error, ERROR_CODE_HYPERVISOR, domain->vm_uuid, "start", "the domain was destroyed");
}

static gboolean create_run(Create *create, gint64 timeout_ms, GError **error)
{
    SimHypervisor *self = create->self;
    Sim *sim = self->host->sim;
    const char *vm_uuid = create->vm_uuid;
    if (sim_fault(sim, FAULT_LIBVIRT_BUSY)) {
        create_wait(create);
    } else {
        create_begin(create);
    }
    if (create->domain == NULL) {
        return create->problem != NULL && !self->is_away
                   ? fail(error, ERROR_CODE_HYPERVISOR, vm_uuid, "start", create->problem)
                   : fail_away(error, vm_uuid, "start");
    }
    if (sim_fault_tries(sim, FAULT_LIBVIRT_KILLED)) {
        sim_domain_after(create->domain, sim_between(sim, 0, CREATE_LEAST_US), is_cut_off, 0);
    }
    if (sim_fault(sim, FAULT_LIBVIRT_LATE)) {
        return fail_away(error, vm_uuid, "start");
    }
    return wait_for_start(self, create->domain, timeout_ms, error);
}

static gboolean sim_create(VbHypervisor *interface, const char *vm_uuid, const char *xml,
                           gint64 timeout_ms, GError **error)
{
    SimHypervisor *self = SELF(interface);
    gint64 asked_ms = sim_host_now_ms(self->host);
    if (!call_begin(self, vm_uuid, "start", error)) {
        return FALSE;
    }
    SimMachine *machine = sim_machine_new(xml);
    if (machine == NULL || strcmp(machine->vm_uuid, vm_uuid) != 0) {
        sim_machine_free(machine);
        return fail(error, ERROR_CODE_HYPERVISOR, vm_uuid, "start", "XML error: no such domain");
    }
    Create *create = g_new0(Create, 1);
    *create = (Create){.self = self,
                       .refs = 1,
                       .agent = self->host->n_starts,
                       .asked_ms = asked_ms,
                       .machine = machine};
    g_strlcpy(create->vm_uuid, vm_uuid, sizeof(create->vm_uuid));
    gboolean ok = create_run(create, timeout_ms, error);
    create_unref(create);
    return ok;
}

/* ---- Attach and detach */

static gboolean fail_not_running(GError **error, const char *vm_uuid)
{
    g_set_error(error, VB_ERROR, ERROR_CODE_DOMAIN_NOT_RUNNING, "VM %s does not run on this host",
                vm_uuid);
    return FALSE;
}

/* Waits until QEMU goes on, as long as that takes; a preemption ends it. */
static gboolean wait_for_change(SimHypervisor *self, SimGuest *domain, const gint *preempted,
                                gint64 end_us, GError **error)
{
    SimHost *host = self->host;
    gboolean fired = FALSE;
    while (domain->is_up && domain->changing && !self->is_away && sim_host_is_alive(host) &&
           sim_now_us(host->sim) < end_us) {
        if (!fired && preempted != NULL && *preempted != 0) {
            fired = TRUE;
            destroy(domain, "a command ends it");
        }
        sim_wait(host->process, &domain->changed, sim_now_us(host->sim) + POLL_US);
    }
    if (fired) {
        g_set_error(error, VB_ERROR, ERROR_CODE_PREEMPTED,
                    "libvirt was about to change a device of VM %s when a command came that ends "
                    "the VM",
                    domain->vm_uuid);
        return FALSE;
    }
    if (self->is_away || !sim_host_is_alive(host)) {
        return fail_away(error, domain->vm_uuid, "change a device of");
    }
    if (!domain->is_up) {
        return fail_not_running(error, domain->vm_uuid);
    }
    return !domain->changing || fail(error, ERROR_CODE_HYPERVISOR, domain->vm_uuid,
                                     "change a device of", "cannot acquire state change lock");
}

/* Our domain, with a reference, once nobody else's call is with its QEMU. NULL and why not. */
static SimGuest *begin_change(SimHypervisor *self, const char *vm_uuid, const gint *preempted,
                              GError **error)
{
    if (!call_begin(self, vm_uuid, "change a device of", error)) {
        return NULL;
    }
    SimGuest *domain = sim_domain_find(self, vm_uuid);
    if (domain == NULL || domain->starting_up) {
        fail_not_running(error, vm_uuid);
        return NULL;
    }
    if (!domain->ours) {
        fail_foreign(error, vm_uuid);
        return NULL;
    }
    sim_domain_ref(domain);
    gint64 end_us = sim_now_us(self->host->sim) + JOB_MOST_US;
    if (!wait_for_change(self, domain, preempted, end_us, error)) {
        sim_domain_unref(domain);
        return NULL;
    }
    return domain;
}

static gboolean attach(SimHypervisor *self, SimGuest *domain, const char *xml,
                       const gint *preempted, GError **error)
{
    SimHost *host = self->host;
    const char *vm_uuid = domain->vm_uuid;
    guint32 index = 0;
    if (!sim_machine_add_nic(domain->machine, xml, &index)) {
        return fail(error, ERROR_CODE_HYPERVISOR, vm_uuid, "attach a device to",
                    "its alias or its PCI address is in use");
    }
    const SimDevice *nic = sim_machine_nic(domain->machine, index);
    gboolean is_vhost_user = nic->nic_type == NIC_TYPE_VHOST_USER;
    if (is_vhost_user && !sim_files_make(host, nic->path, SIM_NODE_SOCKET, 0775, NULL, 0)) {
        sim_machine_remove_nic(domain->machine, index);
        return fail(error, ERROR_CODE_HYPERVISOR, vm_uuid, "attach a device to",
                    "Failed to bind socket");
    }
    sim_host_say(host, vm_uuid, "plugs NIC %u into the domain", index);
    domain->attaching = index;
    domain->changing = is_vhost_user && !sim_switch_serves(host->ports, nic->path);
    return wait_for_change(self, domain, preempted, G_MAXINT64, error) &&
           call_end(self, vm_uuid, "attach a device to", error);
}

static gboolean sim_attach_device(VbHypervisor *interface, const char *vm_uuid, const char *xml,
                                  const gint *preempted, GError **error)
{
    SimHypervisor *self = SELF(interface);
    SimGuest *domain = begin_change(self, vm_uuid, preempted, error);
    if (domain == NULL) {
        return FALSE;
    }
    gboolean ok = attach(self, domain, xml, preempted, error);
    sim_domain_unref(domain);
    return ok;
}

static gboolean sim_detach_device(VbHypervisor *interface, const char *vm_uuid, const char *alias,
                                  const gint *preempted, GError **error)
{
    SimHypervisor *self = SELF(interface);
    SimGuest *domain = begin_change(self, vm_uuid, preempted, error);
    if (domain == NULL) {
        return FALSE;
    }
    guint64 index = 0;
    const char *number = g_str_has_prefix(alias, "ua-nic-") ? alias + strlen("ua-nic-") : "";
    if (g_ascii_string_to_unsigned(number, 10, 0, G_MAXUINT32, &index, NULL) &&
        sim_machine_nic(domain->machine, (guint32)index) != NULL) {
        sim_guest_ask_to_let_go(domain, (guint32)index);
    }
    sim_domain_unref(domain);
    return call_end(self, vm_uuid, "detach a device from", error);
}

/* ---- Ends */

static gboolean sim_shutdown(VbHypervisor *interface, const char *vm_uuid, GError **error)
{
    SimHypervisor *self = SELF(interface);
    if (!call_begin(self, vm_uuid, "shut down", error)) {
        return FALSE;
    }
    SimGuest *domain = sim_domain_find(self, vm_uuid);
    if (domain == NULL) {
        return fail_not_running(error, vm_uuid);
    }
    if (!domain->ours) {
        return fail_foreign(error, vm_uuid);
    }
    sim_host_say(self->host, vm_uuid, "the guest is asked to power off");
    sim_guest_press_button(domain);
    return call_end(self, vm_uuid, "shut down", error);
}

static gboolean sim_destroy(VbHypervisor *interface, const char *vm_uuid, GError **error)
{
    SimHypervisor *self = SELF(interface);
    SimHost *host = self->host;
    if (!call_begin(self, vm_uuid, "destroy", error)) {
        return FALSE;
    }
    SimGuest *domain = sim_domain_find(self, vm_uuid);
    if (domain == NULL) {
        return TRUE;
    }
    if (!domain->ours) {
        return fail_foreign(error, vm_uuid);
    }
    if (domain->starting_up && (domain->stuck || domain->creator != host->n_starts)) {
        sim_mark(MARK_START_CUT_OFF);
    }
    sim_domain_ref(domain);
    destroy(domain, "it is destroyed");
    while (domain->is_up && sim_host_is_alive(host)) {
        sim_wait(host->process, &domain->changed, G_MAXINT64);
    }
    sim_domain_unref(domain);
    return call_end(self, vm_uuid, "destroy", error);
}

/* ---- Facts about the host */

static const char *const *sim_domain_types(VbHypervisor *interface)
{
    static const char *const kvm_and_qemu[] = {"kvm", "qemu", NULL};
    return SELF(interface)->has_kvm ? kvm_and_qemu : kvm_and_qemu + 1;
}

static char *sim_version(VbHypervisor *interface)
{
    const SimHypervisor *self = SELF(interface);
    return self->is_away || !sim_host_is_alive(self->host) ? NULL
                                                           : g_strdup("QEMU 7.2.22, libvirt 9.0.0");
}

static guint sim_count_running(VbHypervisor *interface)
{
    const SimHypervisor *self = SELF(interface);
    guint n = 0;
    for (guint i = 0; i < self->domains->len && !self->is_away; i++) {
        n += ((const SimGuest *)g_ptr_array_index(self->domains, i))->ours ? 1 : 0;
    }
    return n;
}

/* ---- What nobody calls for */

void sim_hypervisor_vanish(SimHypervisor *self)
{
    if (self->domains->len > 0) {
        sim_fault_hit(FAULT_DOMAIN_VANISHES);
        pull_plug(g_ptr_array_index(self->domains, sim_below(self->host->sim, self->domains->len)),
                  "somebody destroys it by hand");
    }
}

static void intruder_leaves(SimGuest *domain, guint32 index)
{
    (void)index;
    sim_domain_end(domain, FALSE, STOP_REASON_UNSPECIFIED, "it was somebody's, who takes it away");
}

void sim_hypervisor_intrude(SimHypervisor *self)
{
    SimHost *host = self->host;
    const SimWorld *world = host->world;
    const char *vm_uuid = world->vm_uuids[sim_below(host->sim, world->plan->n_vms)];
    if (sim_domain_find(self, vm_uuid) != NULL || self->is_away) {
        return;
    }
    sim_fault_hit(FAULT_FOREIGN_DOMAIN);
    SimGuest *domain = domain_new(self, vm_uuid, NULL);
    g_ptr_array_add(self->domains, domain);
    SimDomain facts = sim_domain_facts(domain);
    sim_host_say(host, vm_uuid, "somebody starts a domain of this uuid by hand");
    sim_check_domain_created(world->check, host, &facts);
    sim_domain_after(domain, sim_between(host->sim, INTRUDER_LEAST_US, INTRUDER_MOST_US),
                     intruder_leaves, 0);
}

void sim_hypervisor_power_loss(SimHypervisor *self)
{
    while (self->domains->len > 0) {
        sim_domain_end(g_ptr_array_index(self->domains, 0), FALSE, STOP_REASON_UNSPECIFIED,
                       "its host has lost its power");
    }
    self->is_away = FALSE;
    self->n_outages++;
    creates_drop(self);
}

void sim_hypervisor_calm(SimHypervisor *self)
{
    for (guint i = self->domains->len; i-- > 0;) {
        SimGuest *domain = g_ptr_array_index(self->domains, i);
        if (!domain->ours) {
            intruder_leaves(domain, 0);
        }
    }
    self->away_until_us = sim_now_us(self->host->sim);
    come_back(self);
}

gboolean sim_hypervisor_uses(const SimHypervisor *self, const SimNode *node)
{
    if (self->creates.length > 0) {
        return TRUE; /* Who asked for it has looked at its files. */
    }
    for (guint i = 0; i < self->domains->len; i++) {
        const SimGuest *domain = g_ptr_array_index(self->domains, i);
        if (domain->nvram == node || g_ptr_array_find(domain->disks, node, NULL)) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean sim_hypervisor_runs(const SimHypervisor *self, const char *vm_uuid)
{
    return sim_domain_find(self, vm_uuid) != NULL;
}

void sim_host_each_domain(SimHost *host, SimEachDomain each, void *data)
{
    for (guint i = 0; i < host->hypervisor->domains->len; i++) {
        SimDomain facts = sim_domain_facts(g_ptr_array_index(host->hypervisor->domains, i));
        each(data, &facts);
    }
}

/* ---- Life */

SimHypervisor *sim_hypervisor_new(SimHost *host)
{
    SimHypervisor *self = g_new0(SimHypervisor, 1);
    self->interface = (VbHypervisor){
        .list = sim_list,
        .look = sim_look,
        .create = sim_create,
        .attach_device = sim_attach_device,
        .detach_device = sim_detach_device,
        .shutdown = sim_shutdown,
        .destroy = sim_destroy,
        .domain_types = sim_domain_types,
        .version = sim_version,
        .count_running = sim_count_running,
    };
    self->host = host;
    self->domains = g_ptr_array_new();
    self->has_kvm = sim_below(host->sim, 2) == 0;
    g_queue_init(&self->happenings);
    g_queue_init(&self->events);
    g_queue_init(&self->creates);
    return self;
}

void sim_hypervisor_free(SimHypervisor *self)
{
    g_queue_clear_full(&self->happenings, (GDestroyNotify)happening_free);
    g_queue_clear_full(&self->events, g_free);
    g_queue_clear_full(&self->creates, (GDestroyNotify)create_unref);
    g_ptr_array_set_free_func(self->domains, (GDestroyNotify)sim_domain_unref);
    g_ptr_array_unref(self->domains);
    g_free(self);
}

VbHypervisor *sim_hypervisor_interface(SimHypervisor *self)
{
    return &self->interface;
}
