/* A service for the tests of the step loop: it counts, echoes, waits, fails, on command.
 *
 *     create_vm      makes the record; each command that changes it counts vm->epoch up
 *     get_vm         a reply, no change
 *     start_vm       counts, and sends a HostCommand to the named host
 *     stop_vm        counts, and sets a deadline after timeout_ms; its identity is the request id
 *     reboot_vm      as stop_vm, but the deadline's own step changes nothing (a broken core)
 *     destroy_vm     STEP_FAULT
 *     expunge_vm     deletes the record for good
 *     reset_nvram    counts, and replies with a text of a mebibyte and a half
 *     adopt_volume   answers each Undeliverable with one more host command (a broken core)
 * Every change is answered by a VmEvent reply; DeadlineElapsed and Poisoned by a warning event.
 */
#pragma once

#include "common/base/step.h"

extern const VbService echo_service;
