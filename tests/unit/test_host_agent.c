/* The agent's shell without a broker: threads for every VM, what is told to an effect that runs,
 * the offsets, and the host's own name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/message.h"
#include "services/host-agent/agent_offsets.h"
#include "services/host-agent/agent_options.h"
#include "services/host-agent/agent_private.h"
#include "services/host-agent/files_posix.h"

enum { N_VMS = 200, PATIENCE_S = 20 };

/* ---- An agent over a hypervisor whose every look waits until all VMs are being looked at */

typedef struct {
    VbHypervisor interface;
    GMutex lock;
    GCond changed;
    guint inside;
    guint wanted;
} Crowd;

static gboolean crowd_look(VbHypervisor *self, VbArena *arena, const char *vm_uuid,
                           VbDomainFacts *ret_facts, GError **error)
{
    Crowd *crowd = (Crowd *)self;
    gint64 until_us = g_get_monotonic_time() + PATIENCE_S * G_TIME_SPAN_SECOND;
    (void)arena;
    (void)vm_uuid;
    g_mutex_lock(&crowd->lock);
    crowd->inside++;
    g_cond_broadcast(&crowd->changed);
    while (crowd->inside < crowd->wanted &&
           g_cond_wait_until(&crowd->changed, &crowd->lock, until_us)) {
    }
    gboolean all = crowd->inside >= crowd->wanted;
    g_mutex_unlock(&crowd->lock);
    *ret_facts = (VbDomainFacts){.presence = DOMAIN_NONE};
    if (!all) {
        g_set_error_literal(error, VB_ERROR, ERROR_CODE_TIMEOUT, "the others did not come");
    }
    return all;
}

/* An agent lives as long as its process, so it has no end of its own: it stays reachable here. */
static VbAgent *volatile agents[8];

static VbAgent *agent_over(VbHost *host)
{
    static guint n_agents;
    static VbHostConfig config = {.state_dir = (char *)"/nonexistent"};
    host->config = &config;
    VbAgentConfig agent_config = {.host = host, .version = "test"};
    VbAgent *agent = agent_new(&agent_config);
    g_assert(n_agents < G_N_ELEMENTS(agents));
    agents[n_agents++] = agent;
    return agent;
}

static void vm_that_waits_costs_no_other_its_thread(void **state)
{
    (void)state;
    /* Static: threads that wait in vain outlive a test that fails. */
    static Crowd crowd = {.interface = {.look = crowd_look}, .wanted = N_VMS};
    static VbHost host = {.hypervisor = &crowd.interface};
    VbAgent *agent = agent_over(&host);
    for (guint i = 0; i < N_VMS; i++) {
        char uuid[UUID_TEXT_BYTES];
        uuid_random(uuid);
        agent_work_effect(agent, agent_vm_get(agent, uuid), EFFECT_LOOK);
    }
    for (guint i = 0; i < N_VMS; i++) {
        VbAgentMessage *message =
            g_async_queue_timeout_pop(agent->inbox, 2 * PATIENCE_S * G_TIME_SPAN_SECOND);
        assert_non_null(message);
        assert_null(message->result.error);
        agent_message_free(message);
    }
}

/* ---- Commands that wait */

static HostCommand *stop_command(VbArena *arena, const char *vm_uuid, StopMode mode)
{
    HostCommand *command = ARENA_MSG(arena, host_command);
    command->vm_uuid = arena_strdup(arena, vm_uuid);
    command->operation_id = arena_strdup(arena, "op");
    command->command_case = HOST_COMMAND__COMMAND_STOP_DOMAIN;
    command->stop_domain = ARENA_MSG(arena, stop_domain);
    command->stop_domain->mode = mode;
    return command;
}

static void forced_stop_is_told_to_the_effect_that_runs(void **state)
{
    (void)state;
    VbHost host = {0};
    VbAgent *agent = agent_over(&host);
    g_autoptr(VbArena) arena = arena_new();
    char uuid[UUID_TEXT_BYTES];
    uuid_random(uuid);
    VbAgentVm *vm = agent_vm_get(agent, uuid);
    vm->effect_runs = TRUE;
    VbAgentCommand command = {.offset = 1,
                              .command = stop_command(arena, uuid, STOP_MODE_GRACEFUL)};
    agent_vm_queue(agent, &command);
    assert_int_equal(g_atomic_int_get(&vm->preempted), 0);
    command.offset = 2;
    command.command = stop_command(arena, uuid, STOP_MODE_FORCED);
    agent_vm_queue(agent, &command);
    assert_int_equal(g_atomic_int_get(&vm->preempted), 1);
    agent_vm_drop_waiting(vm);
    assert_int_equal(g_atomic_int_get(&vm->preempted), 0);
}

/* ---- The command topic */

static gint64 now_ms(void *clock)
{
    (void)clock;
    return 1000;
}

static void on_fate(void *data, const char *vm_uuid, gboolean delivered)
{
    (void)data;
    (void)vm_uuid;
    (void)delivered;
}

/* A VM that has taken up the command at `offset`. */
static VbAgentVm *vm_at(VbAgent *agent, gint64 offset, const char *operation_id)
{
    char uuid[UUID_TEXT_BYTES];
    g_autoptr(VbArena) arena = arena_new();
    uuid_random(uuid);
    VbAgentVm *vm = agent_vm_get(agent, uuid);
    HostCommand *command = stop_command(arena, uuid, STOP_MODE_FORCED);
    command->operation_id = arena_strdup(arena, operation_id);
    command->expires_ms = 1; /* Answered at once. */
    VbHostInput input = {.kind = HOST_INPUT_COMMAND, .command = command, .offset = offset};
    agent_vm_step(agent, vm, &input);
    assert_int_equal(vm->last_offset, offset);
    return vm;
}

static void folder_remove(const char *path)
{
    g_auto(GStrv) names = files_posix()->list(files_posix(), path);
    for (char **name = names; name != NULL && *name != NULL; name++) {
        g_autofree char *file = g_build_filename(path, *name, NULL);
        g_unlink(file);
    }
    g_rmdir(path);
}

static void await_looks(VbAgent *agent, guint n)
{
    for (guint i = 0; i < n; i++) {
        VbAgentMessage *message =
            g_async_queue_timeout_pop(agent->inbox, 2 * PATIENCE_S * G_TIME_SPAN_SECOND);
        assert_non_null(message);
        assert_int_equal(message->effect, EFFECT_LOOK);
        agent_vm_get(agent, message->vm_uuid)->effect_runs = FALSE;
        agent_message_free(message);
    }
    assert_null(g_async_queue_try_pop(agent->inbox));
}

/* Whose commands a topic took with it is not known: every VM is looked at, and none believes that it
 * has seen what the new one holds, however long that is. */
static void topic_that_was_made_again_is_read_by_every_vm(void **state)
{
    (void)state;
    static Crowd crowd = {.interface = {.look = crowd_look}, .wanted = 0};
    static VbHost host = {.hypervisor = &crowd.interface, .now_ms = now_ms};
    static VbHostConfig config = {.host_uuid = (char *)"b7f3c2d1-0a9e-4c8b-9f6d-5e4a3b2c1d0e"};
    g_autofree char *folder = g_dir_make_tmp("virtbus-agent-XXXXXX", NULL);
    VbKafkaSettings settings = {.bootstrap = (char *)"127.0.0.1:1", .client_id = (char *)"test"};
    VbAgent *agent = agent_over(&host);
    host.config = &config;
    journal_free(agent->journal);
    agent->journal = journal_new(files_posix(), folder);
    agent->bus = agent_bus_new(&settings, "test", config.host_uuid, on_fate, agent, NULL);
    assert_non_null(agent->bus);
    VbAgentVm *older = vm_at(agent, 5, "older");
    VbAgentVm *newer = vm_at(agent, 9, "newer");
    g_autofree char *operation_id = NULL;
    assert_int_equal(agent_vms_newest(agent, &operation_id), 9);
    assert_string_equal(operation_id, "newer");

    VbAgentMessage message = {.opened = TRUE, .topic = {.end = 100}};
    agent_topic_opened(agent, &message); /* The same one: a broker was away. */
    await_looks(agent, 0);
    assert_int_equal(older->last_offset, 5);
    agent->topic_gone = TRUE; /* It was seen to be gone. */
    agent_topic_opened(agent, &message);
    await_looks(agent, 2);
    agent_topic_opened(agent, &message); /* That was then. */
    await_looks(agent, 0);
    message.topic.is_another = TRUE;
    agent_topic_opened(agent, &message);
    await_looks(agent, 2);
    assert_int_equal(older->last_offset, -1);
    assert_int_equal(newer->last_offset, -1);
    assert_null(agent->failure);
    folder_remove(folder);
}

/* ---- Offsets */

static void finished_commands_behind_an_unfinished_one_do_not_count(void **state)
{
    (void)state;
    VbOffsets offsets;
    offsets_init(&offsets);
    offsets_begin(&offsets, 7);
    assert_int_equal(offsets_low_water(&offsets), 7);
    for (gint64 offset = 7; offset < 1007; offset++) {
        offsets_read(&offsets, offset);
        if (offset != 7 && offset != 500) {
            offsets_finish(&offsets, offset);
        }
    }
    assert_int_equal(offsets_n_unfinished(&offsets), 2);
    assert_int_equal(offsets_low_water(&offsets), 7);
    offsets_finish(&offsets, 7);
    assert_int_equal(offsets_low_water(&offsets), 500);
    offsets_finish(&offsets, 7); /* Again: nothing. */
    offsets_finish(&offsets, 500);
    assert_int_equal(offsets_low_water(&offsets), 1007);
    assert_int_equal(offsets_n_unfinished(&offsets), 0);
    g_array_unref(offsets.unfinished);
}

/* ---- The host's name */

static void host_uuid_outlives_the_agents_folders(void **state)
{
    (void)state;
    g_autofree char *path = g_strdup("/tmp/virtbus-machine-id-XXXXXX");
    close(g_mkstemp(path));
    assert_true(g_file_set_contents(path, "0123456789abcdef0123456789abcdef\n", -1, NULL));
    g_autofree char *first = agent_host_uuid("", path, NULL);
    g_autofree char *second = agent_host_uuid("", path, NULL);
    assert_true(uuid_is_valid(first));
    assert_string_equal(first, second);
    assert_null(strstr(first, "01234567")); /* The machine's id is not told. */
    g_autofree char *wanted = agent_host_uuid(first, "/nonexistent", NULL);
    assert_string_equal(wanted, first);

    static const char *const bad_ids[] = {"", "uninitialized\n", "0123"};
    for (size_t i = 0; i < G_N_ELEMENTS(bad_ids); i++) {
        g_autoptr(GError) error = NULL;
        assert_true(g_file_set_contents(path, bad_ids[i], -1, NULL));
        assert_null(agent_host_uuid("", path, &error));
        assert_true(g_error_matches(error, VB_ERROR, ERROR_CODE_INVALID_ARGUMENT));
    }
    g_autoptr(GError) error = NULL;
    assert_null(agent_host_uuid("HOST-1", path, &error));
    assert_non_null(error);
    g_unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vm_that_waits_costs_no_other_its_thread),
        cmocka_unit_test(forced_stop_is_told_to_the_effect_that_runs),
        cmocka_unit_test(topic_that_was_made_again_is_read_by_every_vm),
        cmocka_unit_test(finished_commands_behind_an_unfinished_one_do_not_count),
        cmocka_unit_test(host_uuid_outlives_the_agents_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
