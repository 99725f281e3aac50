/* The only file that knows libvirt.
 *
 *   control connection   kept for ever by the connector thread: events, and every short call
 *   one per create,      these block for as long as QEMU pleases and cannot be cancelled, and
 *   attach, detach       libvirtd serves at most 5 calls of one connection at a time (probed): on
 *                        the control connection a few stuck VMs would stop all others
 *   event loop thread    sleeps in poll until libvirt has something to say
 *
 * It touches no domain that virtbus did not make, and defines none: every domain is transient, so
 * nothing can start it behind our back.
 */
#include "services/host-agent/hypervisor_libvirt.h"

#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/uuid.h"
#include "services/host-agent/domain_xml.h"

enum {
    KEEPALIVE_INTERVAL_S = 5,
    KEEPALIVE_COUNT = 3, /* A libvirtd that hangs is given up after about 20 seconds. */
    RECONNECT_INTERVAL_MS = 1000,
    WATCHDOG_INTERVAL_MS = 500,
    FIRST_ATTEMPT_MS = 10000, /* How long calls wait for the first attempt to connect. */
};

#define DOMAIN_PREFIX "vb-"

static const char *const kvm_only[] = {"kvm", NULL};
static const char *const qemu_only[] = {"qemu", NULL};
static const char *const kvm_and_qemu[] = {"kvm", "qemu", NULL};

typedef struct {
    VbHypervisor interface;
    char *uri;
    char *domain_type;
    VbDomainEventFunction on_event;
    void *data;
    GThread *loop;
    GThread *connector;
    int lifecycle_callback; /* Of the control connection; the connector's own. */
    int reboot_callback;
    int removed_callback;
    gint closing; /* Atomic. */
    GMutex lock;  /* Guards what follows. */
    GCond changed;
    virConnectPtr control; /* NULL: libvirt is away. */
    gboolean control_lost; /* The connector has to replace it. */
    gboolean tried;        /* The first attempt to connect has ended. */
    const char *const *domain_types;
} LibvirtHypervisor;

G_DEFINE_AUTOPTR_CLEANUP_FUNC(virDomain, virDomainFree)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(virConnect, virConnectClose)

/* ---- Errors */

/* libvirt's last error on this thread, in its own words. */
static void fail(virConnectPtr connection, const char *vm_uuid, const char *what, GError **error)
{
    g_autofree char *words = g_strdup(virGetLastErrorMessage());
    if (connection == NULL || virConnectIsAlive(connection) != 1) {
        g_set_error(error, VB_ERROR, ERROR_CODE_HYPERVISOR_UNAVAILABLE,
                    "libvirt went away while it should %s VM %s: %s; start libvirtd, then ask "
                    "again",
                    what, vm_uuid, words);
        return;
    }
    g_set_error(error, VB_ERROR, ERROR_CODE_HYPERVISOR, "libvirt cannot %s VM %s: %s", what,
                vm_uuid, words);
}

static gboolean fail_foreign(const char *vm_uuid, GError **error)
{
    g_set_error(error, VB_ERROR, ERROR_CODE_FOREIGN_DOMAIN,
                "the domain of uuid %s was not made by virtbus and is left alone: remove it by "
                "hand",
                vm_uuid);
    return FALSE;
}

/* libvirt would print every error to stderr, also those that are answers. */
static void keep_quiet(void *data, virErrorPtr verror)
{
    (void)data;
    (void)verror;
}

/* Whether the call that just failed did so because there is no domain any more. */
static gboolean error_is_gone(void)
{
    virErrorPtr verror = virGetLastError();
    return verror != NULL &&
           (verror->code == VIR_ERR_NO_DOMAIN || verror->code == VIR_ERR_OPERATION_INVALID);
}

/* ---- Connections */

/* The control connection, with a reference of its own; NULL and HYPERVISOR_UNAVAILABLE. */
static virConnectPtr control_get(LibvirtHypervisor *self, GError **error)
{
    gint64 until_us = g_get_monotonic_time() + FIRST_ATTEMPT_MS * G_TIME_SPAN_MILLISECOND;
    virConnectPtr connection = NULL;
    g_mutex_lock(&self->lock);
    while (!self->tried && g_cond_wait_until(&self->changed, &self->lock, until_us)) {
    }
    if (self->control != NULL && !self->control_lost) {
        connection = self->control;
        virConnectRef(connection);
    }
    g_mutex_unlock(&self->lock);
    if (connection == NULL) {
        g_set_error(error, VB_ERROR, ERROR_CODE_HYPERVISOR_UNAVAILABLE,
                    "libvirt does not answer at %s: start libvirtd, then ask again", self->uri);
    }
    return connection;
}

/* The VM of a domain that is named as virtbus names its own; else NULL. Free with g_free. */
static char *vm_of_domain(virDomainPtr domain)
{
    const char *name = virDomainGetName(domain);
    char uuid[VIR_UUID_STRING_BUFLEN];
    if (name == NULL || !g_str_has_prefix(name, DOMAIN_PREFIX) ||
        virDomainGetUUIDString(domain, uuid) != 0 ||
        strcmp(name + strlen(DOMAIN_PREFIX), uuid) != 0) {
        return NULL;
    }
    return g_strdup(uuid);
}

static StopReason stop_reason(int detail)
{
    switch ((virDomainEventStoppedDetailType)detail) {
    case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
        return STOP_REASON_GUEST_SHUTDOWN;
    case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
    case VIR_DOMAIN_EVENT_STOPPED_FAILED:
        return STOP_REASON_CRASHED;
    case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
    case VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
    case VIR_DOMAIN_EVENT_STOPPED_SAVED:
    case VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT:
        return STOP_REASON_OUTSIDE;
    }
    return STOP_REASON_OUTSIDE; /* A detail of a newer libvirt. */
}

static void on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail,
                         void *data)
{
    (void)connection;
    LibvirtHypervisor *self = data;
    g_autofree char *vm_uuid = vm_of_domain(domain);
    if (vm_uuid == NULL) {
        return;
    }
    switch ((virDomainEventType)event) {
    case VIR_DOMAIN_EVENT_STARTED:
        self->on_event(self->data, vm_uuid, DOMAIN_EVENT_STARTED, STOP_REASON_UNSPECIFIED, 0);
        break;
    case VIR_DOMAIN_EVENT_STOPPED:
        self->on_event(self->data, vm_uuid, DOMAIN_EVENT_STOPPED, stop_reason(detail), 0);
        break;
    case VIR_DOMAIN_EVENT_SHUTDOWN:
        if (detail != VIR_DOMAIN_EVENT_SHUTDOWN_HOST) { /* That one is a plug being pulled. */
            self->on_event(self->data, vm_uuid, DOMAIN_EVENT_SHUTDOWN, STOP_REASON_UNSPECIFIED, 0);
        }
        break;
    case VIR_DOMAIN_EVENT_CRASHED:
        self->on_event(self->data, vm_uuid, DOMAIN_EVENT_PANIC, STOP_REASON_UNSPECIFIED, 0);
        break;
    case VIR_DOMAIN_EVENT_DEFINED:
    case VIR_DOMAIN_EVENT_UNDEFINED:
    case VIR_DOMAIN_EVENT_SUSPENDED:
    case VIR_DOMAIN_EVENT_RESUMED:
    case VIR_DOMAIN_EVENT_PMSUSPENDED:
        break;
    }
}

static void on_reboot(virConnectPtr connection, virDomainPtr domain, void *data)
{
    (void)connection;
    LibvirtHypervisor *self = data;
    g_autofree char *vm_uuid = vm_of_domain(domain);
    if (vm_uuid != NULL) {
        self->on_event(self->data, vm_uuid, DOMAIN_EVENT_REBOOT, STOP_REASON_UNSPECIFIED, 0);
    }
}

/* Also of a detach that is being waited for: the core tells them apart. */
static void on_device_removed(virConnectPtr connection, virDomainPtr domain, const char *alias,
                              void *data)
{
    (void)connection;
    LibvirtHypervisor *self = data;
    guint nic_index = 0;
    g_autofree char *vm_uuid = vm_of_domain(domain);
    if (vm_uuid != NULL && domain_xml_read_nic_alias(alias, &nic_index)) {
        self->on_event(self->data, vm_uuid, DOMAIN_EVENT_DEVICE_REMOVED, STOP_REASON_UNSPECIFIED,
                       nic_index);
    }
}

static void on_close(virConnectPtr connection, int reason, void *data)
{
    (void)reason;
    LibvirtHypervisor *self = data;
    g_mutex_lock(&self->lock);
    if (self->control == connection) {
        self->control_lost = TRUE;
        g_cond_broadcast(&self->changed);
    }
    g_mutex_unlock(&self->lock);
}

/* System management mode is how Secure Boot's firmware keeps its variables from the guest. A KVM
 * without it is a paravirtual one, under which UEFI does not come up at all (probed). */
static gboolean kvm_has_smm(void)
{
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return FALSE;
    }
    gboolean has = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_SMM) == 1;
    close(fd);
    return has;
}

static const char *const *find_domain_types(const LibvirtHypervisor *self, virConnectPtr connection)
{
    if (strcmp(self->domain_type, "kvm") == 0) {
        return kvm_only;
    }
    if (strcmp(self->domain_type, "qemu") == 0 || !kvm_has_smm()) {
        return qemu_only;
    }
    char *capabilities =
        virConnectGetDomainCapabilities(connection, NULL, "x86_64", "q35", "kvm", 0);
    const char *const *types = capabilities != NULL ? kvm_and_qemu : qemu_only;
    free(capabilities);
    return types;
}

static void control_close(LibvirtHypervisor *self, virConnectPtr connection)
{
    /* Each of these holds a reference to the connection, also to a dead one. */
    if (self->lifecycle_callback >= 0) {
        virConnectDomainEventDeregisterAny(connection, self->lifecycle_callback);
    }
    if (self->reboot_callback >= 0) {
        virConnectDomainEventDeregisterAny(connection, self->reboot_callback);
    }
    if (self->removed_callback >= 0) {
        virConnectDomainEventDeregisterAny(connection, self->removed_callback);
    }
    virConnectUnregisterCloseCallback(connection, on_close);
    virConnectClose(connection);
}

static virConnectPtr connection_open(const LibvirtHypervisor *self)
{
    virConnectPtr connection = virConnectOpen(self->uri);
    if (connection != NULL &&
        virConnectSetKeepAlive(connection, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT) < 0) {
        virConnectClose(connection);
        return NULL;
    }
    return connection;
}

static virConnectPtr control_open(LibvirtHypervisor *self)
{
    virConnectPtr connection = connection_open(self);
    if (connection == NULL) {
        return NULL;
    }
    self->lifecycle_callback =
        virConnectDomainEventRegisterAny(connection, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), self, NULL);
    self->reboot_callback =
        virConnectDomainEventRegisterAny(connection, NULL, VIR_DOMAIN_EVENT_ID_REBOOT,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_reboot), self, NULL);
    self->removed_callback =
        virConnectDomainEventRegisterAny(connection, NULL, VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED,
                                         VIR_DOMAIN_EVENT_CALLBACK(on_device_removed), self, NULL);
    if (virConnectRegisterCloseCallback(connection, on_close, self, NULL) < 0 ||
        self->lifecycle_callback < 0 || self->reboot_callback < 0 || self->removed_callback < 0) {
        control_close(self, connection);
        return NULL;
    }
    return connection;
}

/* One attempt to connect. Enters and leaves with the lock held. */
static gboolean control_attempt(LibvirtHypervisor *self)
{
    g_mutex_unlock(&self->lock);
    virConnectPtr connection = control_open(self);
    const char *const *types =
        connection != NULL ? find_domain_types(self, connection) : self->domain_types;
    g_mutex_lock(&self->lock);
    self->control = connection;
    /* It may have died before on_close could know that it is the one. */
    self->control_lost = connection != NULL && virConnectIsAlive(connection) != 1;
    self->domain_types = types;
    self->tried = TRUE;
    g_cond_broadcast(&self->changed);
    return connection != NULL;
}

static void control_drop(LibvirtHypervisor *self)
{
    virConnectPtr connection = self->control;
    self->control = NULL;
    g_mutex_unlock(&self->lock);
    control_close(self, connection);
    g_mutex_lock(&self->lock);
}

/* Keeps the control connection; sleeps while it lives. */
static gpointer connector_run(gpointer data)
{
    LibvirtHypervisor *self = data;
    gboolean missed = FALSE; /* Events may have been. */
    g_mutex_lock(&self->lock);
    while (!g_atomic_int_get(&self->closing)) {
        if (self->control != NULL && !self->control_lost) {
            g_cond_wait(&self->changed, &self->lock);
        } else if (self->control != NULL) {
            control_drop(self);
            missed = TRUE;
        } else if (!control_attempt(self)) {
            missed = TRUE;
            gint64 until_us =
                g_get_monotonic_time() + RECONNECT_INTERVAL_MS * G_TIME_SPAN_MILLISECOND;
            g_cond_wait_until(&self->changed, &self->lock, until_us);
        } else if (missed) {
            missed = FALSE;
            g_mutex_unlock(&self->lock);
            self->on_event(self->data, NULL, DOMAIN_EVENT_RECONNECTED, STOP_REASON_UNSPECIFIED, 0);
            g_mutex_lock(&self->lock);
        }
    }
    if (self->control != NULL) {
        control_drop(self);
    }
    g_mutex_unlock(&self->lock);
    return NULL;
}

static gpointer loop_run(gpointer data)
{
    LibvirtHypervisor *self = data;
    while (!g_atomic_int_get(&self->closing) && virEventRunDefaultImpl() == 0) {
    }
    return NULL;
}

/* ---- Domains */

/* A call of somebody's is with QEMU. */
static gboolean is_changing(virDomainPtr domain)
{
    virDomainControlInfo control = {.state = VIR_DOMAIN_CONTROL_OK};
    return virDomainGetControlInfo(domain, &control, 0) == 0 &&
           control.state == VIR_DOMAIN_CONTROL_OCCUPIED;
}

/* What is there under the VM's uuid. `ret_domain` and `ret_xml` (free) are set when it is ours and
 * up. FALSE and an error when libvirt cannot tell. */
static gboolean domain_find(virConnectPtr connection, const char *vm_uuid, virDomainPtr *ret_domain,
                            char **ret_xml, VbDomainFacts *ret_facts, GError **error)
{
    *ret_facts = (VbDomainFacts){.presence = DOMAIN_NONE};
    g_autoptr(virDomain) domain = virDomainLookupByUUIDString(connection, vm_uuid);
    /* Before the XML is read: what it shows after that is no half-done attach. */
    ret_facts->changing = domain != NULL && is_changing(domain);
    char *xml = domain != NULL ? virDomainGetXMLDesc(domain, 0) : NULL;
    int active = xml != NULL ? virDomainIsActive(domain) : -1;
    if (active < 0) {
        gboolean gone = error_is_gone();
        if (!gone) {
            fail(connection, vm_uuid, "look for", error);
        }
        free(xml);
        return gone;
    }
    /* A definition without a domain is none of ours either: virtbus never leaves one. */
    if (active == 0 || !domain_xml_is_ours(xml, vm_uuid, &ret_facts->epoch)) {
        ret_facts->presence = DOMAIN_FOREIGN;
        free(xml);
        return TRUE;
    }
    ret_facts->presence = DOMAIN_OURS;
    *ret_domain = g_steal_pointer(&domain);
    *ret_xml = xml;
    return TRUE;
}

/* The same for who is to act on it: a foreign one is an error. `ret_domain` NULL: none is up. */
static gboolean domain_find_ours(virConnectPtr connection, const char *vm_uuid,
                                 virDomainPtr *ret_domain, GError **error)
{
    char *xml = NULL;
    VbDomainFacts facts;
    if (!domain_find(connection, vm_uuid, ret_domain, &xml, &facts, error)) {
        return FALSE;
    }
    free(xml);
    return facts.presence != DOMAIN_FOREIGN || fail_foreign(vm_uuid, error);
}

static gboolean libvirt_look(VbHypervisor *interface, VbArena *arena, const char *vm_uuid,
                             VbDomainFacts *ret_facts, GError **error)
{
    g_autoptr(virConnect) connection = control_get((LibvirtHypervisor *)interface, error);
    g_autoptr(virDomain) domain = NULL;
    char *xml = NULL;
    if (connection == NULL || !domain_find(connection, vm_uuid, &domain, &xml, ret_facts, error)) {
        return FALSE;
    }
    if (ret_facts->presence != DOMAIN_OURS) {
        return TRUE;
    }
    int state = VIR_DOMAIN_NOSTATE;
    int reason = 0;
    gboolean known = virDomainGetState(domain, &state, &reason, 0) == 0;
    if (!known && error_is_gone()) {
        *ret_facts = (VbDomainFacts){.presence = DOMAIN_NONE};
    } else if (!known) {
        fail(connection, vm_uuid, "tell the state of", error);
    } else {
        ret_facts->starting_up =
            state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_STARTING_UP;
        ret_facts->hardware = domain_xml_read_hardware(arena, xml, error);
        ret_facts->nvram_path = domain_xml_read_nvram(arena, xml);
        ret_facts->nic_types = domain_xml_read_nic_types(arena, xml);
        known = ret_facts->hardware != NULL;
    }
    free(xml);
    return known || ret_facts->presence == DOMAIN_NONE;
}

static gboolean libvirt_shutdown(VbHypervisor *interface, const char *vm_uuid, GError **error)
{
    g_autoptr(virConnect) connection = control_get((LibvirtHypervisor *)interface, error);
    g_autoptr(virDomain) domain = NULL;
    if (connection == NULL || !domain_find_ours(connection, vm_uuid, &domain, error)) {
        return FALSE;
    }
    if (domain != NULL && virDomainShutdown(domain) == 0) {
        return TRUE;
    }
    if (domain != NULL && !error_is_gone()) {
        fail(connection, vm_uuid, "shut down", error);
        return FALSE;
    }
    g_set_error(error, VB_ERROR, ERROR_CODE_DOMAIN_NOT_RUNNING,
                "VM %s does not run on this host: there is nothing to shut down", vm_uuid);
    return FALSE;
}

static gboolean libvirt_destroy(VbHypervisor *interface, const char *vm_uuid, GError **error)
{
    g_autoptr(virConnect) connection = control_get((LibvirtHypervisor *)interface, error);
    g_autoptr(virDomain) domain = NULL;
    if (connection == NULL || !domain_find_ours(connection, vm_uuid, &domain, error)) {
        return FALSE;
    }
    /* Without flags libvirt sends SIGTERM first: QEMU then syncs the variable store as it ends. */
    if (domain != NULL && virDomainDestroy(domain) < 0 && !error_is_gone()) {
        fail(connection, vm_uuid, "destroy", error);
        return FALSE;
    }
    return TRUE;
}

/* ---- What may get stuck, and the watchdog that unblocks it */

typedef struct {
    LibvirtHypervisor *hypervisor;
    const char *vm_uuid;
    const char *what;      /* "start": for the log. */
    gint64 deadline_us;    /* Monotonic. */
    const gint *preempted; /* Atomic; NULL: nothing ever does. */
    GThread *thread;
    GMutex lock;
    GCond done_changed;
    gboolean done;  /* The call has come back. */
    gboolean fired; /* It was too late, or in the way of a command. */
} Watchdog;

static gboolean watchdog_is_due(const Watchdog *dog)
{
    return g_get_monotonic_time() >= dog->deadline_us ||
           (dog->preempted != NULL && g_atomic_int_get(dog->preempted) != 0);
}

/* Destroys again and again until the call comes back: a domain that libvirt is still about to
 * register cannot be found yet. */
static gpointer watchdog_run(gpointer data)
{
    Watchdog *dog = data;
    g_mutex_lock(&dog->lock);
    while (!dog->done) {
        gint64 until_us = g_get_monotonic_time() + WATCHDOG_INTERVAL_MS * G_TIME_SPAN_MILLISECOND;
        if (dog->preempted == NULL && !dog->fired) {
            until_us = dog->deadline_us;
        }
        g_cond_wait_until(&dog->done_changed, &dog->lock, until_us);
        if (dog->done || !watchdog_is_due(dog)) {
            continue;
        }
        dog->fired = TRUE;
        g_mutex_unlock(&dog->lock);
        g_autoptr(GError) error = NULL;
        if (!libvirt_destroy(&dog->hypervisor->interface, dog->vm_uuid, &error)) {
            g_warning("the %s of VM %s is stuck and cannot be ended: %s", dog->what, dog->vm_uuid,
                      error->message);
        }
        g_mutex_lock(&dog->lock);
    }
    g_mutex_unlock(&dog->lock);
    return NULL;
}

static void watchdog_start(Watchdog *dog)
{
    g_mutex_init(&dog->lock);
    g_cond_init(&dog->done_changed);
    dog->thread = g_thread_new("watchdog", watchdog_run, dog);
}

static void watchdog_stop(Watchdog *dog)
{
    g_mutex_lock(&dog->lock);
    dog->done = TRUE;
    g_cond_signal(&dog->done_changed);
    g_mutex_unlock(&dog->lock);
    g_thread_join(dog->thread);
    g_mutex_clear(&dog->lock);
    g_cond_clear(&dog->done_changed);
}

/* A connection for one call; NULL and an error. */
static virConnectPtr call_open(LibvirtHypervisor *self, const char *vm_uuid, const char *what,
                               GError **error)
{
    g_autoptr(virConnect) control = control_get(self, error);
    if (control == NULL) {
        return NULL;
    }
    virConnectPtr connection = connection_open(self);
    if (connection == NULL) {
        fail(NULL, vm_uuid, what, error);
    }
    return connection;
}

static gboolean libvirt_create(VbHypervisor *interface, const char *vm_uuid, const char *xml,
                               gint64 timeout_ms, GError **error)
{
    LibvirtHypervisor *self = (LibvirtHypervisor *)interface;
    g_autoptr(virConnect) connection = call_open(self, vm_uuid, "start", error);
    if (connection == NULL) {
        return FALSE;
    }
    Watchdog dog = {
        .hypervisor = self,
        .vm_uuid = vm_uuid,
        .what = "start",
        .deadline_us = g_get_monotonic_time() + timeout_ms * G_TIME_SPAN_MILLISECOND,
    };
    watchdog_start(&dog);
    g_autoptr(virDomain) domain = virDomainCreateXML(connection, xml, VIR_DOMAIN_START_VALIDATE);
    if (domain == NULL) {
        fail(connection, vm_uuid, "start", error);
    }
    watchdog_stop(&dog);
    if (dog.fired) {
        g_clear_error(error);
        g_set_error(error, VB_ERROR, ERROR_CODE_TIMEOUT,
                    "the start of VM %s took libvirt longer than %" G_GINT64_FORMAT
                    " ms and was ended: see libvirt's log of domain " DOMAIN_PREFIX "%s",
                    vm_uuid, timeout_ms, vm_uuid);
    }
    return domain != NULL && !dog.fired;
}

/* ---- Attach and detach
 *
 * Measured with QEMU 7.2 and libvirt 9.0, a vhost-user NIC in mode "server" and nobody at the other
 * end of its socket: netdev_add waits for a client IN QEMU's main loop. The guest stands still as
 * soon as it needs a device; libvirt's call does not come back; the domain's control is "occupied"
 * and its XML already shows the NIC. When OVS connects (8 s later, a minute later) all goes on and
 * the call succeeds. A destroy over another connection ends it after 12 s: QEMU does not hear
 * SIGTERM any more, libvirt kills it after ten; the call then fails with "Unable to read from
 * monitor".
 *
 * So there is no deadline here: to end the wait is to end a running guest, and OVS may be back any
 * moment. Only a command that ends the guest anyway may do that. */

typedef int (*DeviceCall)(virDomainPtr domain, const char *device);

static int call_attach(virDomainPtr domain, const char *xml)
{
    return virDomainAttachDeviceFlags(domain, xml, VIR_DOMAIN_AFFECT_LIVE);
}

static int call_detach(virDomainPtr domain, const char *alias)
{
    int result = virDomainDetachDeviceAlias(domain, alias, VIR_DOMAIN_AFFECT_LIVE);
    virErrorPtr verror = result < 0 ? virGetLastError() : NULL;
    return verror != NULL && verror->code == VIR_ERR_DEVICE_MISSING ? 0 : result;
}

/* One blocking call about one device of a running domain of ours. */
static gboolean change_device(VbHypervisor *interface, const char *vm_uuid, const char *what,
                              DeviceCall call, const char *device, const gint *preempted,
                              GError **error)
{
    LibvirtHypervisor *self = (LibvirtHypervisor *)interface;
    g_autoptr(virConnect) connection = call_open(self, vm_uuid, what, error);
    g_autoptr(virDomain) domain = NULL;
    if (connection == NULL || !domain_find_ours(connection, vm_uuid, &domain, error)) {
        return FALSE;
    }
    Watchdog dog = {.hypervisor = self,
                    .vm_uuid = vm_uuid,
                    .what = what,
                    .deadline_us = G_MAXINT64,
                    .preempted = preempted};
    watchdog_start(&dog);
    g_autoptr(GError) refusal = NULL;
    gboolean ok = domain != NULL && call(domain, device) == 0;
    if (domain != NULL && !ok) {
        fail(connection, vm_uuid, what, &refusal);
    }
    watchdog_stop(&dog);
    if (ok && !dog.fired) {
        return TRUE;
    }
    if (dog.fired) {
        g_set_error(error, VB_ERROR, ERROR_CODE_PREEMPTED,
                    "libvirt was about to %s VM %s when a command came that ends the VM; it was "
                    "destroyed",
                    what, vm_uuid);
    } else if (domain == NULL || (g_error_matches(refusal, VB_ERROR, ERROR_CODE_HYPERVISOR) &&
                                  virDomainIsActive(domain) != 1)) {
        g_set_error(error, VB_ERROR, ERROR_CODE_DOMAIN_NOT_RUNNING,
                    "VM %s does not run on this host: start it, with its NICs as they should be",
                    vm_uuid);
    } else {
        g_propagate_error(error, g_steal_pointer(&refusal));
    }
    return FALSE;
}

static gboolean libvirt_attach_device(VbHypervisor *interface, const char *vm_uuid, const char *xml,
                                      const gint *preempted, GError **error)
{
    return change_device(interface, vm_uuid, "attach a device to", call_attach, xml, preempted,
                         error);
}

static gboolean libvirt_detach_device(VbHypervisor *interface, const char *vm_uuid,
                                      const char *alias, const gint *preempted, GError **error)
{
    return change_device(interface, vm_uuid, "detach a device from", call_detach, alias, preempted,
                         error);
}

/* ---- Facts about the host */

static const char *const *libvirt_domain_types(VbHypervisor *interface)
{
    LibvirtHypervisor *self = (LibvirtHypervisor *)interface;
    g_mutex_lock(&self->lock);
    const char *const *types = self->domain_types;
    g_mutex_unlock(&self->lock);
    return types;
}

static char *libvirt_version(VbHypervisor *interface)
{
    g_autoptr(virConnect) connection = control_get((LibvirtHypervisor *)interface, NULL);
    unsigned long qemu = 0;
    unsigned long libvirt = 0;
    if (connection == NULL || virConnectGetVersion(connection, &qemu) < 0 ||
        virConnectGetLibVersion(connection, &libvirt) < 0) {
        return NULL;
    }
    return g_strdup_printf("QEMU %lu.%lu.%lu, libvirt %lu.%lu.%lu", qemu / 1000000,
                           qemu / 1000 % 1000, qemu % 1000, libvirt / 1000000,
                           libvirt / 1000 % 1000, libvirt % 1000);
}

/* One that libvirt cannot describe and that is not gone counts: better a look too many. */
static gboolean may_be_ours(virDomainPtr domain, const char *vm_uuid)
{
    guint64 epoch = 0;
    char *xml = virDomainGetXMLDesc(domain, 0);
    gboolean ours = xml != NULL ? domain_xml_is_ours(xml, vm_uuid, &epoch) : !error_is_gone();
    free(xml);
    return ours;
}

static char **libvirt_list(VbHypervisor *interface, GError **error)
{
    g_autoptr(virConnect) connection = control_get((LibvirtHypervisor *)interface, error);
    virDomainPtr *domains = NULL;
    if (connection == NULL) {
        return NULL;
    }
    int n_domains = virConnectListAllDomains(connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (n_domains < 0) {
        g_set_error(error, VB_ERROR, ERROR_CODE_HYPERVISOR_UNAVAILABLE,
                    "libvirt does not tell which domains there are: %s; it is asked again",
                    virGetLastErrorMessage());
        return NULL;
    }
    g_autoptr(GStrvBuilder) uuids = g_strv_builder_new();
    for (int i = 0; i < n_domains; i++) {
        g_autofree char *vm_uuid = vm_of_domain(domains[i]);
        if (vm_uuid != NULL && may_be_ours(domains[i], vm_uuid)) {
            g_strv_builder_add(uuids, vm_uuid);
        }
        virDomainFree(domains[i]);
    }
    free(domains);
    return g_strv_builder_end(uuids);
}

static guint libvirt_count_running(VbHypervisor *interface)
{
    g_autoptr(virConnect) connection = control_get((LibvirtHypervisor *)interface, NULL);
    virDomainPtr *domains = NULL;
    int n_domains = connection != NULL ? virConnectListAllDomains(connection, &domains,
                                                                  VIR_CONNECT_LIST_DOMAINS_ACTIVE)
                                       : 0;
    guint n_ours = 0;
    for (int i = 0; i < n_domains; i++) {
        g_autofree char *vm_uuid = vm_of_domain(domains[i]);
        n_ours += vm_uuid != NULL ? 1 : 0;
        virDomainFree(domains[i]);
    }
    free(domains);
    return n_ours;
}

VbHypervisor *hypervisor_libvirt_new(const char *uri, const char *domain_type,
                                     VbDomainEventFunction on_event, void *data)
{
    LibvirtHypervisor *self = g_new0(LibvirtHypervisor, 1);
    self->interface = (VbHypervisor){
        .list = libvirt_list,
        .look = libvirt_look,
        .create = libvirt_create,
        .attach_device = libvirt_attach_device,
        .detach_device = libvirt_detach_device,
        .shutdown = libvirt_shutdown,
        .destroy = libvirt_destroy,
        .domain_types = libvirt_domain_types,
        .version = libvirt_version,
        .count_running = libvirt_count_running,
    };
    self->uri = g_strdup(uri);
    self->domain_type = g_strdup(domain_type);
    self->on_event = on_event;
    self->data = data;
    self->domain_types = strcmp(domain_type, "kvm") == 0 ? kvm_only : qemu_only;
    g_mutex_init(&self->lock);
    g_cond_init(&self->changed);
    virSetErrorFunc(NULL, keep_quiet);
    /* Before the first connection, or that one would have no events. */
    virEventRegisterDefaultImpl();
    self->loop = g_thread_new("libvirt-events", loop_run, self);
    self->connector = g_thread_new("libvirt-connect", connector_run, self);
    return &self->interface;
}

/* Its only purpose is to wake the loop up. */
static void on_wake_up(int timer, void *data)
{
    (void)timer;
    (void)data;
}

void hypervisor_libvirt_free(VbHypervisor *interface)
{
    LibvirtHypervisor *self = (LibvirtHypervisor *)interface;
    g_atomic_int_set(&self->closing, TRUE);
    g_mutex_lock(&self->lock);
    g_cond_broadcast(&self->changed);
    g_mutex_unlock(&self->lock);
    g_thread_join(self->connector);
    int timer = virEventAddTimeout(0, on_wake_up, NULL, NULL);
    g_thread_join(self->loop);
    virEventRemoveTimeout(timer);
    g_mutex_clear(&self->lock);
    g_cond_clear(&self->changed);
    g_free(self->uri);
    g_free(self->domain_type);
    g_free(self);
}
