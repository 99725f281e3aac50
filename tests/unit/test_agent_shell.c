/* The agent's shell in its order: an intent is saved before its effect, a report before it is sent,
 * a command is finished when the broker has its report. The bus, the effects and the heartbeat are
 * this file's: what they are asked is kept as one line, "save effect save report". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#include "services/host-agent/agent_private.h"
#include "services/host-agent/files_posix.h"
#include "services/host-agent/heartbeat.h"

#define HOST "b7f3c2d1-0a9e-4c8b-9f6d-5e4a3b2c1d0e"
#define VM   "6e1b4a52-9d6c-4f57-8a2b-0d5a1f2c3e4d"

enum { PATIENCE_S = 20, NOW_MS = 1000 };

typedef struct World World;
struct World {
    VbFiles files;
    VbHypervisor hypervisor;
    VbHostConfig config;
    VbHost host;
    VbAgent *agent;
    VbArena *arena;
    char *folder;
    GMutex lock; /* Effects and chores run on threads of their own. */
    GString *calls;
    gboolean saves_fail;
    gboolean assigned;
    gint64 committed;
    World *older; /* An agent lives as long as its process, so it stays reachable. */
};

static World *world;

static void call(const char *name)
{
    g_mutex_lock(&world->lock);
    g_string_append_printf(world->calls, "%s%s", world->calls->len > 0 ? " " : "", name);
    g_mutex_unlock(&world->lock);
}

static void expect_calls(const char *calls)
{
    g_mutex_lock(&world->lock);
    g_autofree char *seen = g_strdup(world->calls->str);
    g_string_truncate(world->calls, 0);
    g_mutex_unlock(&world->lock);
    assert_string_equal(seen, calls);
}

/* ---- What stands in for the bus, the effects and the heartbeat */

struct VbAgentBus {
    int unused;
};

static VbAgentBus bus;

void agent_bus_report(VbAgentBus *self, VbArena *arena, const HostReport *report,
                      const char *traceparent)
{
    (void)self;
    (void)arena;
    (void)report;
    (void)traceparent;
    call("report");
}

void agent_bus_finish(VbAgentBus *self, gint64 offset)
{
    (void)self;
    g_autofree char *text = g_strdup_printf("finish/%d", (int)offset);
    call(text);
}

gint64 agent_bus_committed(VbAgentBus *self)
{
    (void)self;
    return world->committed;
}

gboolean agent_bus_open(VbAgentBus *self, const VbAgentMark *mark, VbAgentTopic *ret_topic,
                        GError **error)
{
    (void)self;
    (void)mark;
    (void)error;
    *ret_topic = (VbAgentTopic){0};
    call("open");
    return TRUE;
}

void agent_bus_assign(VbAgentBus *self, const VbAgentTopic *topic)
{
    (void)self;
    (void)topic;
    world->assigned = TRUE;
}

gboolean agent_bus_is_assigned(VbAgentBus *self)
{
    (void)self;
    return world->assigned;
}

/* The loop has come far enough when commands could be read. */
gboolean agent_bus_serve(VbAgentBus *self, GError **error)
{
    (void)self;
    if (world->assigned) {
        g_set_error_literal(error, VB_ERROR, ERROR_CODE_INTERNAL, "the test is over");
    }
    return !world->assigned;
}

gboolean agent_bus_next(VbAgentBus *self, VbArena *arena, VbAgentCommand *ret_command)
{
    (void)self;
    (void)arena;
    (void)ret_command;
    return FALSE;
}

int agent_bus_fd(VbAgentBus *self)
{
    (void)self;
    return -1;
}

void agent_bus_commit(VbAgentBus *self)
{
    (void)self;
}

void agent_bus_unassign(VbAgentBus *self)
{
    (void)self;
}

gboolean agent_bus_check(VbAgentBus *self)
{
    (void)self;
    return TRUE;
}

void agent_bus_info(VbAgentBus *self, VbArena *arena, const HostInfo *info)
{
    (void)self;
    (void)arena;
    (void)info;
}

HostInfo *heartbeat_collect(VbHost *host, VbArena *arena)
{
    (void)host;
    return ARENA_MSG(arena, host_info);
}

void effect_run(VbHost *host, VbArena *arena, const VbEffectRequest *request,
                VbEffectResult *ret_result)
{
    (void)host;
    (void)arena;
    *ret_result = (VbEffectResult){0};
    call(agent_work_effect_name(request->kind));
}

static char **fake_list(VbHypervisor *self, GError **error)
{
    (void)self;
    (void)error;
    call("list");
    return g_new0(char *, 1);
}

static int fake_rename(VbFiles *self, const char *from, const char *to)
{
    if (world->saves_fail) {
        errno = EIO;
        return -1;
    }
    call("save");
    return files_posix()->rename(self, from, to);
}

static gint64 fake_now_ms(void *clock)
{
    (void)clock;
    return NOW_MS;
}

/* ---- The world */

static int set_up(void **state)
{
    (void)state;
    World *older = world;
    world = g_new0(World, 1);
    world->older = older;
    g_mutex_init(&world->lock);
    world->calls = g_string_new(NULL);
    world->arena = arena_new();
    world->folder = g_dir_make_tmp("virtbus-shell-XXXXXX", NULL);
    world->files = *files_posix();
    world->files.rename = fake_rename;
    world->hypervisor.list = fake_list;
    world->config.host_uuid = (char *)HOST;
    world->config.state_dir = world->folder;
    world->host = (VbHost){.config = &world->config,
                           .files = &world->files,
                           .hypervisor = &world->hypervisor,
                           .now_ms = fake_now_ms};
    VbAgentConfig config = {.host = &world->host, .version = "test"};
    world->agent = agent_new(&config);
    world->agent->bus = &bus;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    g_auto(GStrv) names = files_posix()->list(files_posix(), world->folder);
    for (char **name = names; name != NULL && *name != NULL; name++) {
        g_autofree char *file = g_build_filename(world->folder, *name, NULL);
        g_unlink(file);
    }
    g_rmdir(world->folder);
    return 0;
}

static VbAgentCommand command_new(gint64 offset)
{
    HostCommand *command = ARENA_MSG(world->arena, host_command);
    command->vm_uuid = (char *)VM;
    command->operation_id = arena_printf(world->arena, "op-%d", (int)offset);
    return (VbAgentCommand){.offset = offset, .command = command};
}

static void queue_stop(gint64 offset, gint64 expires_ms)
{
    VbAgentCommand command = command_new(offset);
    HostCommand *stop = (HostCommand *)command.command;
    stop->command_case = HOST_COMMAND__COMMAND_STOP_DOMAIN;
    stop->stop_domain = ARENA_MSG(world->arena, stop_domain);
    stop->stop_domain->mode = STOP_MODE_FORCED;
    stop->expires_ms = expires_ms;
    agent_vm_queue(world->agent, &command);
}

/* Answered at once. */
static void queue_late_stop(gint64 offset)
{
    queue_stop(offset, NOW_MS - 1);
}

static void queue_forget(gint64 offset)
{
    VbAgentCommand command = command_new(offset);
    HostCommand *forget = (HostCommand *)command.command;
    forget->command_case = HOST_COMMAND__COMMAND_FORGET_VM;
    forget->forget_vm = ARENA_MSG(world->arena, forget_vm);
    agent_vm_queue(world->agent, &command);
}

static VbAgentVm *vm(void)
{
    return agent_vm_get(world->agent, VM);
}

static VbAgentMessage *await_message(void)
{
    VbAgentMessage *message =
        g_async_queue_timeout_pop(world->agent->inbox, PATIENCE_S * G_TIME_SPAN_SECOND);
    assert_non_null(message);
    return message;
}

/* The effect that runs has come to its end, and its VM hears of it. */
static void await_effect(void)
{
    VbAgentMessage *message = await_message();
    VbHostInput input = {.kind = HOST_INPUT_DONE, .result = &message->result};
    world->agent->n_effects--;
    vm()->effect_runs = FALSE;
    agent_vm_step(world->agent, vm(), &input);
    agent_vm_advance(world->agent, vm());
    agent_message_free(message);
}

/* ---- The order */

static void intent_is_saved_before_its_effect(void **state)
{
    (void)state;
    queue_forget(0);
    await_effect();
    expect_calls("save forget save report");
}

static void what_cannot_be_saved_has_no_effect(void **state)
{
    (void)state;
    world->saves_fail = TRUE;
    queue_forget(0);
    assert_non_null(world->agent->failure);
    assert_int_equal(world->agent->n_effects, 0);
    expect_calls("");
}

static void what_cannot_be_saved_is_not_reported(void **state)
{
    (void)state;
    world->saves_fail = TRUE;
    queue_late_stop(0);
    assert_non_null(world->agent->failure);
    expect_calls("");
}

static void command_is_finished_when_the_broker_has_its_report(void **state)
{
    (void)state;
    queue_late_stop(7);
    expect_calls("save report");
    agent_report_fate(world->agent, VM, FALSE); /* Sent again when the loop comes round. */
    expect_calls("");
    agent_vm_advance(world->agent, vm());
    expect_calls("report");
    agent_report_fate(world->agent, VM, TRUE);
    expect_calls("save finish/7");
}

static void one_report_is_out_at_a_time(void **state)
{
    (void)state;
    queue_late_stop(1);
    expect_calls("save report");
    queue_late_stop(2);
    expect_calls("save");
    agent_report_fate(world->agent, VM, TRUE);
    expect_calls("save report");
    agent_report_fate(world->agent, VM, TRUE);
    expect_calls("save finish/1 finish/2");
}

/* ---- What is read again */

static void old_forced_stop_disturbs_nobody(void **state)
{
    (void)state;
    queue_late_stop(9);
    vm()->effect_runs = TRUE;
    queue_stop(9, 0);
    assert_int_equal(g_atomic_int_get(&vm()->preempted), 0);
    queue_stop(10, 0);
    assert_int_equal(g_atomic_int_get(&vm()->preempted), 1);
}

static gboolean is_known(void)
{
    return g_hash_table_contains(world->agent->vms, VM);
}

/* Until then its last command may be read again, and must not make a VM of it. */
static void forgotten_vm_is_known_until_its_last_offset_is_committed(void **state)
{
    (void)state;
    queue_forget(7);
    await_effect();
    agent_report_fate(world->agent, VM, TRUE);
    world->committed = 7;
    agent_vms_remove_forgotten(world->agent);
    assert_true(is_known());
    world->committed = 8;
    agent_vms_remove_forgotten(world->agent);
    assert_false(is_known());
}

/* ---- After a restart */

static void every_vm_of_the_journal_is_looked_at(void **state)
{
    (void)state;
    queue_late_stop(0);
    agent_report_fate(world->agent, VM, TRUE);
    expect_calls("save report save finish/0");
    g_hash_table_remove_all(world->agent->vms);
    assert_true(journal_load(world->agent->journal, agent_vm_found, world->agent, NULL));
    assert_true(is_known());
    agent_vm_advance(world->agent, vm());
    await_effect();
    expect_calls("save look save");
}

/* libvirtd may begin with a create when its agent is dead and the next one has looked. */
static void domain_that_comes_up_unasked_is_looked_at(void **state)
{
    (void)state;
    queue_late_stop(0);
    expect_calls("save report");
    agent_vm_came_up(world->agent, VM);
    agent_vm_came_up(world->agent, VM); /* The look that runs may have been too early for it. */
    await_effect();
    await_effect();
    expect_calls("save look save save look save");
    assert_int_equal(world->agent->n_effects, 0);
}

static void domain_of_a_start_that_runs_is_not_looked_at(void **state)
{
    (void)state;
    VbAgentCommand command = command_new(0);
    HostCommand *start = (HostCommand *)command.command;
    start->command_case = HOST_COMMAND__COMMAND_START_DOMAIN;
    start->start_domain = ARENA_MSG(world->arena, start_domain);
    agent_vm_queue(world->agent, &command);
    agent_vm_came_up(world->agent, VM);
    await_effect();
    agent_vm_came_up(world->agent, VM); /* Late. */
    expect_calls("save start save report");
    assert_int_equal(world->agent->n_effects, 0);
}

static void domain_that_nobody_knows_is_asked_for(void **state)
{
    (void)state;
    agent_vm_came_up(world->agent, VM);
    agent_message_free(await_message());
    expect_calls("list");
    assert_false(is_known());
}

static void commands_are_read_when_it_is_known_what_runs(void **state)
{
    (void)state;
    g_autoptr(GError) error = NULL;
    assert_false(agent_run(world->agent, &bus, &error));
    assert_string_equal(error->message, "the test is over");
    expect_calls("list open");
}

/* The list that is made may have been begun before it came up. */
static void domain_that_comes_up_while_all_are_listed_is_listed_too(void **state)
{
    (void)state;
    g_autoptr(GError) error = NULL;
    agent_domain_event(world->agent, VM, DOMAIN_EVENT_STARTED, STOP_REASON_UNSPECIFIED, 0);
    assert_false(agent_run(world->agent, &bus, &error));
    expect_calls("list list open");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(intent_is_saved_before_its_effect),
        TEST(what_cannot_be_saved_has_no_effect),
        TEST(what_cannot_be_saved_is_not_reported),
        TEST(command_is_finished_when_the_broker_has_its_report),
        TEST(one_report_is_out_at_a_time),
        TEST(old_forced_stop_disturbs_nobody),
        TEST(forgotten_vm_is_known_until_its_last_offset_is_committed),
        TEST(every_vm_of_the_journal_is_looked_at),
        TEST(domain_that_comes_up_unasked_is_looked_at),
        TEST(domain_of_a_start_that_runs_is_not_looked_at),
        TEST(domain_that_nobody_knows_is_asked_for),
        TEST(commands_are_read_when_it_is_known_what_runs),
        TEST(domain_that_comes_up_while_all_are_listed_is_listed_too),
    };
    return cmocka_run_group_tests_name("agent_shell", tests, NULL, NULL);
}
