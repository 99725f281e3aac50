/* Plans of a start, for tests: what a VM asks for and what the host found, in a few lines each. */
#pragma once

#include "services/host-agent/domain_xml.h"

#define PLAN_VM_UUID "7c9e6679-7425-40de-944b-e07fc1f90ae7"

typedef struct {
    VbArena *arena;
    VmSpec *spec;
    StartDomain *start;
    VbDomainPlan plan;
    const char *folder; /* Where volumes, images, sockets and logs lie. */
} VbTestPlan;

/* A VM with 1 vCPU and 512 MiB, no devices, of domain type "qemu". Free with plan_free. */
VbTestPlan *plan_new(const char *folder, Platform platform);
void plan_free(VbTestPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbTestPlan, plan_free)

/* OVMF; without NVRAM a stateless loader. */
void plan_use_uefi(VbTestPlan *plan, gboolean secure_boot, gboolean nvram);
void plan_add_tpm(VbTestPlan *plan);
/* Device indexes count from 0 in the order of the calls. The returned specs may be changed. */
DiskSpec *plan_add_disk(VbTestPlan *plan, VolumeType type, VolumeFormat format);
CdromSpec *plan_add_cdrom(VbTestPlan *plan, const char *image);
NicSpec *plan_add_nic(VbTestPlan *plan, NicType type, NicModel model);
/* Takes the first NIC away, as UpdateVm does; the others keep their indexes. */
void plan_remove_first_nic(VbTestPlan *plan);

/* Resolves the NICs, and builds. Free with g_free; `error` as domain_xml_build. */
char *plan_build(VbTestPlan *plan, GError **error);
