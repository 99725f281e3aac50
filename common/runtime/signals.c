/*
 * signals: see signals.h. The handler does nothing but an atomic store and a write(2).
 */
#include "common/runtime/signals.h"

#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

static atomic_bool is_stop_requested;
static int stop_fd = -1;

static void on_stop(int number)
{
    int saved_errno = errno;
    if (atomic_exchange(&is_stop_requested, true)) {
        /* The signal is blocked here and takes its default action when the handler returns. */
        signal(number, SIG_DFL);
        raise(number);
    } else {
        const uint64_t one = 1;
        ssize_t n = write(stop_fd, &one, sizeof(one));
        (void)n; /* an eventfd at 0 takes a 1 */
    }
    errno = saved_errno;
}

void signals_start(void)
{
    g_assert(stop_fd == -1);
    stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_fd < 0)
        g_error("cannot make an eventfd for signals: %s", g_strerror(errno));

    /* SA_RESTART: libraries see no EINTR; our own loops poll the descriptor. */
    struct sigaction stop = {.sa_handler = on_stop, .sa_flags = SA_RESTART};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&stop.sa_mask);
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);

    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGTERM);
    sigaddset(&stops, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &stops, NULL);
}

bool signals_is_stop_requested(void)
{
    return atomic_load(&is_stop_requested);
}

int signals_stop_fd(void)
{
    return stop_fd;
}
