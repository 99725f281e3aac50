/* volume-service's core and VMs of which it knows nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/base/message.h"
#include "services/volume-service/volume_core.h"

#define VM_UUID   "11111111-1111-4111-8111-111111111111"
#define OPERATION "33333333-3333-4333-8333-333333333333"

enum { NOW_MS = 1000000 };

typedef struct {
    VbArena *arena;
    StateRecord *state;
    GArray *outputs; /* of VbOutput */
} World;

static int setup(void **state)
{
    World *world = g_new0(World, 1);
    world->arena = arena_new();
    world->outputs = g_array_new(FALSE, FALSE, sizeof(VbOutput));
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    World *world = *state;
    g_array_unref(world->outputs);
    arena_free(world->arena);
    g_free(world);
    return 0;
}

/* Any member of the oneof will do: each is a message. */
static const VolumeEvent *step(World *world, VolumeCommand__CommandCase kind, gint64 expires_ms)
{
    Settings settings = SETTINGS__INIT;
    VolumeCommand *command = ARENA_MSG(world->arena, volume_command);
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field(&volume_command__descriptor, kind);
    command->vm_uuid = VM_UUID;
    command->operation_id = OPERATION;
    command->expires_ms = expires_ms;
    command->command_case = kind;
    command->prepare_volumes = (void *)arena_message(world->arena, field->descriptor);
    VbStepInput input = {.vm_uuid = VM_UUID,
                         .time_ms = NOW_MS,
                         .settings = &settings,
                         .record = &command->base,
                         .topic = TOPIC_VOLUME_COMMANDS};
    VbStep step = {
        .input = &input, .arena = world->arena, .state = world->state, .outputs = world->outputs};
    g_array_set_size(world->outputs, 0);
    assert_int_equal(volume_service.step(&step), STEP_OK);
    world->state = step.state;
    assert_int_equal(world->outputs->len, 1);
    const VbOutput *output = &g_array_index(world->outputs, VbOutput, 0);
    assert_int_equal(output->topic, TOPIC_VOLUME_EVENTS);
    return (const VolumeEvent *)output->message;
}

static void commands_for_a_vm_without_volumes_are_answered(void **state)
{
    World *world = *state;
    const VolumeEvent *event = step(world, VOLUME_COMMAND__COMMAND_CHOOSE_VOLUME, NOW_MS + 1);
    assert_int_equal(event->event_case, VOLUME_EVENT__EVENT_VOLUME_CHOSEN);
    assert_non_null(event->volume_chosen->error);
    world->state = NULL;
    event = step(world, VOLUME_COMMAND__COMMAND_REPLACE_NVRAM, NOW_MS + 1);
    assert_int_equal(event->nvram_replaced->error->code, ERROR_CODE_INVALID_ARGUMENT);
    assert_null(world->state);
    event = step(world, VOLUME_COMMAND__COMMAND_EXPUNGE_VOLUMES, NOW_MS + 1);
    assert_int_equal(event->volumes_expunged->left, 0);
    assert_null(world->state);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commands_for_a_vm_without_volumes_are_answered),
    };
    return cmocka_run_group_tests_name("volume_core", tests, NULL, NULL);
}
