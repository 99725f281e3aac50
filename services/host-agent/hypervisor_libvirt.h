/* libvirt as the agent's hypervisor. */
#pragma once

#include "services/host-agent/host.h"

/* Connects in the background, for ever, and calls `on_event` from then on. A call made before the
 * first attempt has ended waits for it; later ones fail at once with HYPERVISOR_UNAVAILABLE while
 * libvirt is away. DOMAIN_EVENT_RECONNECTED comes whenever a connection was made after one was
 * lost or an attempt had failed.
 *
 * `domain_type`: "kvm" and "qemu" are taken at their word. "auto" offers kvm, before qemu, only
 * where libvirt offers it and the kernel's KVM has system management mode. libvirt's domain
 * capabilities cannot tell: they list kvm with a secure loader also where UEFI does not come up
 * (probed).
 *
 * What libvirt tells of a guest, and as what: its VIR_DOMAIN_EVENT_ID_REBOOT is QEMU's RESET, so a
 * guest's reboot, its reset and one from outside are all DOMAIN_EVENT_REBOOT. CRASHED is a panic
 * that the guest told through pvpanic; without that device a panic is not seen at all.
 *
 * At most one in a process: it runs libvirt's default event loop, and so GLib's default main
 * context, on a thread of its own. The process ignores SIGPIPE. Thread-safe. */
VbHypervisor *hypervisor_libvirt_new(const char *uri, const char *domain_type,
                                     VbDomainEventFunction on_event, void *data);

/* Ends the threads; running domains stay. Takes as long as libvirt needs to answer: a daemon that
 * ends anyway need not call it. */
void hypervisor_libvirt_free(VbHypervisor *self);
