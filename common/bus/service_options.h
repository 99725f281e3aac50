/* The options of a service, and the settings for its core made from them. */
#pragma once

#include "common/runtime/options.h"
#include "virtbus/v1/virtbus.h"

/* Rows beyond the base table of common/runtime. Ends with a NULL name. */
extern const VbOption service_options[];

typedef struct {
    Settings settings;
    StorageRef default_storage;
    char *storage_name;
    char *group_id;
    char *client_id;
    const char *instance_id; /* Of `options`. */
} VbServiceOptions;

/* NULL and VB_OPTIONS_ERROR_VALUE naming the option. `options` must outlive the result. */
VbServiceOptions *service_options_new(const VbOptions *options, const char *service_name,
                                      GError **error);
void service_options_free(VbServiceOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VbServiceOptions, service_options_free)
