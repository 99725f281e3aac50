/* Guests: what QEMU opens for them, and what they do with it.
 *
 *   boot      some seconds after the start: counts in the flash, writes it back, and in the TPM
 *   at work   counts now and then; powers off, reboots, crashes or hangs once in a long while
 *   asked     powers off after a while, unless it is deaf or still in its firmware
 *
 * The flash is read once, when QEMU starts; each write goes to the page cache. Only an orderly end
 * brings it to disk (measured). It leaves out writes that a guest's end cuts in half. */
#include "tests/sim/sim_domain.h"

#include <string.h>

enum {
    BOOT_LEAST_US = 3 * SIM_S,
    BOOT_MOST_US = 40 * SIM_S,
    LIFE_LEAST_US = 5 * SIM_S,
    LIFE_MOST_US = 60 * SIM_S,
    OBEY_LEAST_US = SIM_S / 2,
    OBEY_MOST_US = 40 * SIM_S,
    OFF_MOST_US = 2 * SIM_S, /* Between the event of it and the end. */
    PATH_BYTES = 256,
};

/* ---- Files */

static char *open_one(SimGuest *guest, const char *path, SimNode **ret_node)
{
    SimHost *host = guest->hypervisor->host;
    SimNode *node = sim_files_find(host, path);
    if (node == NULL || node->kind != SIM_NODE_FILE) {
        return g_strdup_printf("Failed to open file '%s': No such file or directory", path);
    }
    *ret_node = sim_node_ref(node);
    return NULL;
}

/* QEMU locks what it writes to, over all hosts; the flash it does not (measured). */
static char *lock(SimGuest *guest, const SimNode *node, const char *path)
{
    const SimWorld *world = guest->hypervisor->host->world;
    for (guint i = 0; i < world->plan->n_hosts; i++) {
        const GPtrArray *domains =
            world->hosts[i] != NULL ? world->hosts[i]->hypervisor->domains : NULL;
        for (guint k = 0; domains != NULL && k < domains->len; k++) {
            const SimGuest *other = g_ptr_array_index(domains, k);
            if (other != guest && g_ptr_array_find(other->disks, node, NULL)) {
                return g_strdup_printf("Failed to get \"write\" lock: Is another process using the "
                                       "image [%s]?",
                                       path);
            }
        }
    }
    return NULL;
}

static char *open_disk(SimGuest *guest, const char *path)
{
    SimNode *node = NULL;
    char *problem = open_one(guest, path, &node);
    if (problem == NULL) {
        g_ptr_array_add(guest->disks, node);
        problem = lock(guest, node, path);
        if (strstr(path, "/rootVolumes/") != NULL) {
            guest->root_inode = node->inode;
        }
    }
    return problem;
}

/* libvirt gives it to QEMU's user. */
static char *open_nvram(SimGuest *guest)
{
    SimNode *node = NULL;
    const char *path = guest->machine->nvram_path;
    char *problem = path != NULL ? open_one(guest, path, &node) : NULL;
    if (node != NULL) {
        guest->nvram = node;
        guest->has_counter = sim_nvram_read(node, &guest->counter);
        sim_node_set_owner(node, (SimOwner){node->owner.mode, SIM_QEMU_UID, SIM_QEMU_GID},
                           guest->hypervisor->host->index);
    }
    return problem;
}

#define TPM_STATE "tpm2-00.permall"

/* swtpm replaces its state whole, and syncs nothing. */
static gboolean write_tpm(SimGuest *guest)
{
    SimHost *host = guest->hypervisor->host;
    char folder[PATH_BYTES];
    char path[PATH_BYTES];
    char text[PATH_BYTES];
    g_snprintf(folder, sizeof(folder), SIM_SWTPM_DIR "/%s/tpm2", guest->vm_uuid);
    g_snprintf(path, sizeof(path), "%s/TMP2-00.permall", folder);
    int n = g_snprintf(text, sizeof(text), "TPM state of %s at epoch %" G_GUINT64_FORMAT,
                       guest->vm_uuid, guest->machine->epoch);
    SimNode *node = sim_files_find(host, folder);
    if (node == NULL || node->kind != SIM_NODE_FOLDER ||
        !sim_files_make(host, path, SIM_NODE_FILE, 0600, text, (gsize)n)) {
        return FALSE;
    }
    sim_folder_rename(node, "TMP2-00.permall", node, TPM_STATE, host->index);
    return TRUE;
}

/* As libvirt and swtpm_setup do: a tpm2/ that is not empty is taken for a finished TPM. */
static char *open_tpm(SimGuest *guest)
{
    SimHost *host = guest->hypervisor->host;
    char path[PATH_BYTES];
    g_snprintf(path, sizeof(path), SIM_SWTPM_DIR "/%s", guest->vm_uuid);
    if (!sim_files_make(host, path, SIM_NODE_FOLDER, 0711, NULL, 0)) {
        return g_strdup_printf("cannot make the folder '%s'", path);
    }
    g_strlcat(path, "/tpm2", sizeof(path));
    sim_files_make(host, path, SIM_NODE_FOLDER, 0700, NULL, 0);
    const SimNode *folder = sim_files_find(host, path);
    if (folder != NULL && folder->entries->len == 0) {
        if (sim_fault_tries(host->sim, FAULT_LIBVIRT_KILLED)) {
            /* It dies in the TPM's set-up, as after a full disk. */
            g_strlcat(path, "/" TPM_STATE, sizeof(path));
            sim_files_make(host, path, SIM_NODE_FILE, 0600, NULL, 0);
            sim_hypervisor_go_away(guest->hypervisor, FAULT_LIBVIRT_KILLED);
            return g_strdup("swtpm_setup was killed");
        }
        write_tpm(guest);
    }
    const SimNode *state = folder != NULL ? sim_folder_find(folder, TPM_STATE) : NULL;
    return state != NULL && sim_node_size(state) > 0
               ? NULL
               : g_strdup("swtpm died: it has no state that it can read");
}

/* QEMU listens there; a name that is left from before is taken away first. */
static char *bind_sockets(SimGuest *guest)
{
    SimHost *host = guest->hypervisor->host;
    for (guint i = 0; i < guest->machine->devices->len; i++) {
        const SimDevice *nic = &g_array_index(guest->machine->devices, SimDevice, i);
        if (nic->nic_type != NIC_TYPE_VHOST_USER) {
            continue;
        }
        sim_files_remove(host, nic->path);
        if (!sim_files_make(host, nic->path, SIM_NODE_SOCKET, 0775, NULL, 0)) {
            return g_strdup_printf("Failed to bind socket to %s: No such file or directory",
                                   nic->path);
        }
    }
    return NULL;
}

char *sim_guest_open_files(SimGuest *guest)
{
    const SimMachine *machine = guest->machine;
    SimHost *host = guest->hypervisor->host;
    char *problem = NULL;
    if (machine->loader[0] != '\0' && sim_files_find(host, machine->loader) == NULL) {
        return g_strdup_printf("Failed to open file '%s': No such file or directory",
                               machine->loader);
    }
    for (guint i = 0; problem == NULL && i < machine->devices->len; i++) {
        const SimDevice *device = &g_array_index(machine->devices, SimDevice, i);
        if (g_str_has_prefix(device->address.device, "disk/") && device->path != NULL &&
            g_str_has_prefix(device->path, SIM_STORAGE_DIR "/")) {
            problem = open_disk(guest, device->path);
        }
    }
    problem = problem != NULL ? problem : open_nvram(guest);
    if (problem == NULL && machine->log_path != NULL) {
        sim_files_make(host, machine->log_path, SIM_NODE_FILE, 0600, NULL, 0);
    }
    problem = problem == NULL && machine->has_tpm ? open_tpm(guest) : problem;
    return problem != NULL ? problem : bind_sockets(guest);
}

/* ---- Life */

static void count(SimGuest *guest)
{
    SimHost *host = guest->hypervisor->host;
    if (guest->nvram != NULL && guest->has_counter) {
        guest->counter++;
        sim_nvram_write(guest->nvram, guest->counter, host->index);
    }
}

static void work(SimGuest *guest)
{
    SimHost *host = guest->hypervisor->host;
    SimDomain facts = sim_domain_facts(guest);
    if (guest->nvram != NULL && guest->has_counter) {
        count(guest);
        sim_host_say(host, guest->vm_uuid, "the guest writes %" G_GUINT64_FORMAT " to its NVRAM",
                     guest->counter);
        sim_check_guest_wrote(host->world->check, host, &facts, guest->counter);
        sim_model_wrote(host->world->model, guest->vm_uuid, guest->counter);
    }
}

static void is_off(SimGuest *guest, guint32 index)
{
    (void)index;
    if (guest->is_up) {
        sim_domain_end(guest, TRUE, STOP_REASON_GUEST_SHUTDOWN, "the guest has powered off");
    }
}

static void power_off(SimGuest *guest, guint32 index)
{
    (void)index;
    if (guest->is_up && guest->has_booted && !guest->is_ending && !guest->changing) {
        guest->is_ending = TRUE;
        sim_domain_tell(guest, DOMAIN_EVENT_SHUTDOWN, STOP_REASON_UNSPECIFIED, 0);
        sim_domain_after(guest, sim_delay_us(guest->hypervisor->host->sim, OFF_MOST_US), is_off, 0);
    }
}

static void crash(SimGuest *guest)
{
    sim_domain_end(guest, FALSE, STOP_REASON_CRASHED, "QEMU has crashed");
}

static void panic(SimGuest *guest)
{
    guest->is_deaf = TRUE;
    if (guest->machine->has_panic_device) {
        sim_domain_tell(guest, DOMAIN_EVENT_PANIC, STOP_REASON_UNSPECIFIED, 0);
        sim_domain_end(guest, FALSE, STOP_REASON_CRASHED, "the guest has panicked");
    } else {
        sim_host_say(guest->hypervisor->host, guest->vm_uuid, "the guest has panicked, and hangs");
    }
}

static void reboot(SimGuest *guest)
{
    guest->has_booted = FALSE;
    sim_host_say(guest->hypervisor->host, guest->vm_uuid, "the guest reboots");
    sim_domain_tell(guest, DOMAIN_EVENT_REBOOT, STOP_REASON_UNSPECIFIED, 0);
    sim_guest_boot_soon(guest);
}

static void live(SimGuest *guest, guint32 index);

static void live_on(SimGuest *guest)
{
    Sim *sim = guest->hypervisor->host->sim;
    sim_domain_after(guest, sim_between(sim, LIFE_LEAST_US, LIFE_MOST_US), live, 0);
}

/* One thing in a while; nothing of note in the calm. */
static void live(SimGuest *guest, guint32 index)
{
    (void)index;
    SimHost *host = guest->hypervisor->host;
    if (!guest->is_up || !guest->has_booted || guest->is_ending) {
        return;
    }
    guint n = sim_below(host->sim, 1000);
    if (guest->changing || guest->is_deaf || n < 600 || host->world->calm) {
        if (!guest->changing && !guest->is_deaf) {
            work(guest);
        }
        live_on(guest);
    } else if (n < 620) {
        power_off(guest, 0);
    } else if (n < 640) {
        reboot(guest);
    } else if (n < 650) {
        crash(guest);
    } else if (n < 660) {
        panic(guest);
    } else {
        live_on(guest);
    }
}

static void boot(SimGuest *guest, guint32 index)
{
    (void)index;
    SimHost *host = guest->hypervisor->host;
    if (!guest->is_up || guest->starting_up || guest->has_booted) {
        return;
    }
    SimDomain facts = sim_domain_facts(guest);
    guint64 found = guest->counter;
    guest->has_booted = TRUE;
    count(guest);
    if (guest->machine->has_tpm) {
        write_tpm(guest);
    }
    if (guest->nvram != NULL && guest->has_counter) {
        sim_host_say(host, guest->vm_uuid,
                     "the guest boots: finds %" G_GUINT64_FORMAT
                     " in its NVRAM and writes %" G_GUINT64_FORMAT,
                     found, guest->counter);
        sim_check_guest_booted(host->world->check, host, &facts, found);
        sim_model_booted(host->world->model, guest->vm_uuid, found);
    }
    live_on(guest);
}

void sim_guest_boot_soon(SimGuest *guest)
{
    Sim *sim = guest->hypervisor->host->sim;
    sim_domain_after(guest, BOOT_LEAST_US + sim_delay_us(sim, BOOT_MOST_US), boot, 0);
}

void sim_guest_press_button(SimGuest *guest)
{
    Sim *sim = guest->hypervisor->host->sim;
    if (!guest->has_booted || guest->is_deaf || sim_fault(sim, FAULT_GUEST_DEAF)) {
        return;
    }
    sim_domain_after(guest, OBEY_LEAST_US + sim_delay_us(sim, OBEY_MOST_US), power_off, 0);
}

static void let_go(SimGuest *guest, guint32 nic_index)
{
    if (guest->is_up && !guest->changing && sim_machine_nic(guest->machine, nic_index) != NULL) {
        sim_host_say(guest->hypervisor->host, guest->vm_uuid, "the guest lets go of NIC %u",
                     nic_index);
        sim_machine_remove_nic(guest->machine, nic_index);
        sim_domain_tell(guest, DOMAIN_EVENT_DEVICE_REMOVED, STOP_REASON_UNSPECIFIED, nic_index);
    }
}

void sim_guest_ask_to_let_go(SimGuest *guest, guint32 nic_index)
{
    Sim *sim = guest->hypervisor->host->sim;
    if (!guest->has_booted || guest->is_deaf || sim_fault(sim, FAULT_GUEST_DEAF)) {
        return;
    }
    sim_domain_after(guest, OBEY_LEAST_US + sim_delay_us(sim, OBEY_MOST_US), let_go, nic_index);
}
