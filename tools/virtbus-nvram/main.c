/* virtbus-nvram FILE: what a UEFI variable store holds, as one line of JSON. It only reads, also
 * while the VM runs. */
#include <stdio.h>
#include <stdlib.h>

#include "services/host-agent/nvram_vars.h"

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: virtbus-nvram FILE\n");
        return 2;
    }
    g_autofree char *bytes = NULL;
    gsize size_bytes = 0;
    g_autoptr(GError) error = NULL;
    VbNvramFacts facts;
    if (!g_file_get_contents(argv[1], &bytes, &size_bytes, &error) ||
        !nvram_vars_read(bytes, size_bytes, &facts, &error)) {
        fprintf(stderr, "virtbus-nvram: %s\n", error->message);
        return 1;
    }
    printf(
        "{\"size_bytes\": %zu, \"variables\": %u, \"secure_boot\": %s, \"pk\": %s, \"mtc\": %u}\n",
        size_bytes, facts.n_variables, facts.secure_boot ? "true" : "false",
        facts.has_pk ? "true" : "false", facts.has_mtc ? facts.mtc : 0);
    return 0;
}
