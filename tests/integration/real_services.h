/* The two services as they are shipped, in a World of a test: under its prefix, on its broker.
 *
 * They end with the test, also when the test program dies. Nothing waits for them here: the answer
 * to the first request says that they are ready.
 */
#pragma once

#include "tests/integration/kafka_world.h"

typedef enum { REAL_VM_SERVICE, REAL_VOLUME_SERVICE } RealService;

pid_t real_service_spawn(World *world, RealService service);

/* Records every topic of the world and replays them: each step is made again and must come out byte
 * for byte as it was. The recording is kept in the folder RECORDINGS, if there is one. */
void real_replay(World *world);

/* The most memory that the process has ever had in RAM: VmHWM. */
gint64 real_service_peak_bytes(pid_t pid);
