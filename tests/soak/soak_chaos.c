/* The faults: SIGKILL of any daemon, libvirtd, QEMU or the broker, and SIGSTOP for 1 to 15 seconds,
 * long enough for a service to lose its partitions and its transaction and not to know it.
 *
 * Storms and calms take turns, so that some operations come to their end and others do not. It
 * touches only processes that the soak or its labs have started. */
#include "tests/soak/soak.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

enum {
    STORM_S = 14,
    CALM_S = 7,
    FAULTS_MAX = 4, /* At a time. */
    PAUSE_MAX_MS = 2500,
};

void soak_chaos_note(Soak *soak, const char *what, SoakTarget target, const char *who,
                     gint64 for_us)
{
    soak_line(&soak->chaos_file,
              "{\"time_ms\": %" G_GINT64_FORMAT ", \"what\": \"%s\", \"target\": \"%s\", "
              "\"who\": \"%s\", \"for_ms\": %" G_GINT64_FORMAT "}",
              soak_now_ms(), what, soak_target_name(target), who, for_us / 1000);
}

static void note(Soak *soak, gboolean is_kill, SoakTarget target, const char *who, gint64 for_us)
{
    soak_chaos_note(soak, is_kill ? "kill" : "hold", target, who, for_us);
    (is_kill ? soak->kills : soak->holds)[target]++;
}

/* Mostly short; a third is longer than a session and a transaction may last. */
static gint64 hold_us(GRand *rand)
{
    gint64 s =
        soak_pick(rand, 3) == 0 ? g_rand_int_range(rand, 11, 16) : g_rand_int_range(rand, 1, 7);
    return s * G_USEC_PER_SEC;
}

static gint64 down_us(GRand *rand)
{
    gboolean at_once = soak_pick(rand, 5) < 3;
    return (at_once ? g_rand_int_range(rand, 0, 200) : g_rand_int_range(rand, 1000, 8000)) * 1000;
}

/* ---- Daemons */

/* One of those that are up and not held; NULL: none is. */
static SoakProcess *daemon_choose(const Soak *soak, GRand *rand, SoakTarget target)
{
    g_autoptr(GPtrArray) fit = g_ptr_array_new();
    for (guint i = 0; i < soak->processes->len; i++) {
        SoakProcess *process = g_ptr_array_index(soak->processes, i);
        if (process->target == target && process->pid != 0 && process->wake_us == 0) {
            g_ptr_array_add(fit, process);
        }
    }
    return fit->len > 0 ? g_ptr_array_index(fit, soak_pick(rand, fit->len)) : NULL;
}

static void daemon_kill(Soak *soak, GRand *rand, SoakTarget target)
{
    SoakProcess *process = daemon_choose(soak, rand, target);
    gint64 for_us = down_us(rand);
    if (process != NULL) {
        note(soak, TRUE, target, process->name, for_us);
        kill(process->pid, SIGKILL);
        waitpid(process->pid, NULL, 0);
        process->pid = 0;
        process->start_us = g_get_monotonic_time() + for_us;
    }
}

static void daemon_hold(Soak *soak, GRand *rand, SoakTarget target, gint64 for_us)
{
    SoakProcess *process = daemon_choose(soak, rand, target);
    if (process != NULL) {
        note(soak, FALSE, target, process->name, for_us);
        kill(process->pid, SIGSTOP);
        process->wake_us = g_get_monotonic_time() + for_us;
    }
}

/* ---- libvirtd, the broker, QEMU */

static void libvirtd_hit(Soak *soak, GRand *rand, gboolean is_kill)
{
    SoakHost *host = &soak->hosts[soak_pick(rand, SOAK_HOSTS)];
    pid_t pid = soak_lab_pid(host->lab, "libvirt/libvirtd");
    gint64 now_us = g_get_monotonic_time();
    gint64 for_us = is_kill ? down_us(rand) : hold_us(rand);
    if (pid == 0 || host->libvirtd_start_us != 0 || host->libvirtd_wake_us != 0) {
        return;
    }
    note(soak, is_kill, TARGET_LIBVIRTD, host == soak->hosts ? "libvirtd-a" : "libvirtd-b", for_us);
    kill(pid, is_kill ? SIGKILL : SIGSTOP);
    if (is_kill) {
        host->libvirtd_start_us = now_us + for_us;
    } else {
        host->libvirtd_wake_us = now_us + for_us;
    }
}

static void qemu_hit(Soak *soak, GRand *rand, gboolean is_kill)
{
    g_mutex_lock(&soak->domains_lock);
    if (soak->domains->len > 0) {
        SoakDomain *domain = g_ptr_array_index(soak->domains, soak_pick(rand, soak->domains->len));
        if (is_kill) {
            note(soak, TRUE, TARGET_QEMU, domain->vm, 0);
            kill(domain->pid, SIGKILL);
        } else if (domain->wake_us == 0) {
            gint64 for_us = hold_us(rand);
            note(soak, FALSE, TARGET_QEMU, domain->vm, for_us);
            kill(domain->pid, SIGSTOP);
            domain->wake_us = g_get_monotonic_time() + for_us;
        }
    }
    g_mutex_unlock(&soak->domains_lock);
}

/* On a busy machine it takes its time to come back. */
static gboolean broker_works(Soak *soak)
{
    g_mutex_lock(&soak->table.lock);
    gint64 read_us = soak->read_us;
    g_mutex_unlock(&soak->table.lock);
    return soak->broker_start_us == 0 && g_get_monotonic_time() - read_us < 2 * G_USEC_PER_SEC;
}

static void broker_hit(Soak *soak, GRand *rand)
{
    pid_t pid = soak_lab_pid(soak->hosts[0].lab, "broker/broker");
    if (pid == 0 || !broker_works(soak) || g_get_monotonic_time() < soak->zombie_us) {
        return;
    }
    gint64 for_us = g_rand_int_range(rand, 200, 4000) * 1000;
    note(soak, TRUE, TARGET_BROKER, "broker", for_us);
    kill(pid, SIGKILL);
    soak->broker_start_us = g_get_monotonic_time() + for_us;
}

/* ---- Turns */

static gboolean is_due(gint64 at_us, gint64 now_us)
{
    return at_us != 0 && at_us <= now_us;
}

/* Ends the faults that are due; how many go on. */
static guint faults_end(Soak *soak, gint64 now_us)
{
    guint n = 0;
    for (guint i = 0; i < soak->processes->len; i++) {
        SoakProcess *process = g_ptr_array_index(soak->processes, i);
        if (is_due(process->start_us, now_us)) {
            soak_process_start(soak, process);
        } else if (is_due(process->wake_us, now_us)) {
            kill(process->pid, SIGCONT);
            process->wake_us = 0;
        }
        n += process->start_us != 0 || process->wake_us != 0;
    }
    for (int i = 0; i < SOAK_HOSTS; i++) {
        SoakHost *host = &soak->hosts[i];
        if (is_due(host->libvirtd_start_us, now_us)) {
            soak_lab_run("up", host->lab, "libvirt");
            host->libvirtd_start_us = 0;
        }
        if (is_due(host->libvirtd_wake_us, now_us)) {
            kill(soak_lab_pid(host->lab, "libvirt/libvirtd"), SIGCONT);
            host->libvirtd_wake_us = 0;
        }
        n += host->libvirtd_start_us != 0 || host->libvirtd_wake_us != 0;
    }
    if (is_due(soak->broker_start_us, now_us)) {
        soak_lab_run("start-broker", soak->hosts[0].lab, NULL);
        soak->broker_start_us = 0;
    }
    g_mutex_lock(&soak->domains_lock);
    for (guint i = 0; i < soak->domains->len; i++) {
        SoakDomain *domain = g_ptr_array_index(soak->domains, i);
        if (is_due(domain->wake_us, now_us)) {
            kill(domain->pid, SIGCONT);
            domain->wake_us = 0;
        }
    }
    g_mutex_unlock(&soak->domains_lock);
    return n;
}

guint soak_chaos_floor(const Soak *soak, SoakTarget target)
{
    static const guint in_four_minutes[TARGET_COUNT] = {
        [TARGET_VM_SERVICE] = 8, [TARGET_VOLUME_SERVICE] = 8, [TARGET_AGENT] = 12,
        [TARGET_LIBVIRTD] = 4,   [TARGET_QEMU] = 4,
    };
    return target == TARGET_BROKER ? soak->broker_kills
                                   : (guint)(in_four_minutes[target] * soak->chaos_s / 240);
}

/* One whose kills are fewer than they should be by now; else by chance. */
static SoakTarget target_choose(const Soak *soak, GRand *rand, gint64 at_s, gboolean *ret_is_kill)
{
    static const guint chances[TARGET_COUNT] = {
        [TARGET_VM_SERVICE] = 25, [TARGET_VOLUME_SERVICE] = 20, [TARGET_AGENT] = 30,
        [TARGET_LIBVIRTD] = 9,    [TARGET_QEMU] = 16,
    };
    guint n = soak_pick(rand, 100);
    *ret_is_kill = soak_pick(rand, 3) != 0;
    for (int i = 0; i < TARGET_BROKER; i++) {
        if (soak->kills[i] * soak->chaos_s < soak_chaos_floor(soak, i) * at_s) {
            *ret_is_kill = TRUE;
            return i;
        }
    }
    SoakTarget target = 0;
    for (; n >= chances[target]; target++) {
        n -= chances[target];
    }
    return target;
}

static void fault_begin(Soak *soak, GRand *rand, gint64 at_s)
{
    gboolean is_kill = FALSE;
    SoakTarget target = target_choose(soak, rand, at_s, &is_kill);
    switch (target) {
    case TARGET_VM_SERVICE:
    case TARGET_VOLUME_SERVICE:
    case TARGET_AGENT:
        if (is_kill) {
            daemon_kill(soak, rand, target);
        } else {
            daemon_hold(soak, rand, target, hold_us(rand));
        }
        break;
    case TARGET_LIBVIRTD:
        libvirtd_hit(soak, rand, is_kill);
        break;
    case TARGET_QEMU:
        qemu_hit(soak, rand, is_kill);
        break;
    case TARGET_BROKER:
    case TARGET_COUNT:
        g_assert_not_reached();
    }
}

void soak_chaos_turn(Soak *soak, GRand *rand)
{
    static gint64 begin_us;
    static gint64 next_us;
    gint64 now_us = g_get_monotonic_time();
    begin_us = begin_us == 0 ? now_us : begin_us;
    soak_processes_reap(soak);
    guint n = faults_end(soak, now_us);
    gint64 at_s = (now_us - begin_us) / G_USEC_PER_SEC;
    /* The n-th of N broker kills falls at n/(N+1) of the time. */
    if (soak->kills[TARGET_BROKER] < soak->broker_kills &&
        at_s >= soak->chaos_s * (soak->kills[TARGET_BROKER] + 1) / (soak->broker_kills + 1)) {
        broker_hit(soak, rand);
    }
    /* And the n-th zombie is looked for from n/(N+1) on. */
    SoakProcess *process = daemon_choose(soak, rand, TARGET_VM_SERVICE);
    if (process != NULL && broker_works(soak) && now_us >= soak->zombie_us &&
        soak->n_zombies < soak_zombies_floor(soak) &&
        at_s >= soak->chaos_s * (soak->n_zombies + 1) / (soak_zombies_floor(soak) + 1)) {
        soak_zombie_turn(soak, process);
    }
    if (at_s % (STORM_S + CALM_S) >= STORM_S || n >= FAULTS_MAX || now_us < next_us) {
        return;
    }
    next_us = now_us + (gint64)g_rand_int_range(rand, 100, PAUSE_MAX_MS) * 1000;
    fault_begin(soak, rand, at_s);
}

void soak_chaos_end(Soak *soak)
{
    soak_processes_reap(soak);
    faults_end(soak, G_MAXINT64);
    /* One that the lab was about to start when it was killed. */
    for (int i = 0; i < SOAK_HOSTS; i++) {
        static gint64 tried_us[SOAK_HOSTS];
        gint64 now_us = g_get_monotonic_time();
        if (soak_lab_pid(soak->hosts[i].lab, "libvirt/libvirtd") == 0 &&
            now_us - tried_us[i] > 10 * G_USEC_PER_SEC) {
            tried_us[i] = now_us;
            soak_lab_run("up", soak->hosts[i].lab, "libvirt");
        }
    }
}
