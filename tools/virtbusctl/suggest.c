/* See suggest.h. */
#include "tools/virtbusctl/suggest.h"

#include <string.h>

enum { WORD_MAX_BYTES = 64 };

/* How many letters must be changed, put in, left out, or swapped with their neighbour. */
static gsize distance(const char *a, const char *b)
{
    gsize before[WORD_MAX_BYTES + 1] = {0};
    gsize above[WORD_MAX_BYTES + 1] = {0};
    gsize row[WORD_MAX_BYTES + 1] = {0};
    gsize n_a = strlen(a);
    gsize n_b = strlen(b);
    for (gsize j = 0; j <= n_b; j++) {
        above[j] = j;
    }
    for (gsize i = 1; i <= n_a; i++) {
        row[0] = i;
        for (gsize j = 1; j <= n_b; j++) {
            row[j] = MIN(MIN(above[j], row[j - 1]) + 1, above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = MIN(row[j], before[j - 2] + 1);
            }
        }
        memcpy(before, above, sizeof(before));
        memcpy(above, row, sizeof(above));
    }
    return above[n_b];
}

const char *suggest_nearest(const char *word, const char *const *known)
{
    const char *nearest = NULL;
    gsize least = G_MAXSIZE;
    for (; *known != NULL && strlen(word) <= WORD_MAX_BYTES; known++) {
        gsize own = strlen(*known) <= WORD_MAX_BYTES ? distance(word, *known) : G_MAXSIZE;
        if (own < least) {
            least = own;
            nearest = *known;
        }
    }
    /* A third of the letters may be wrong; more is another word. */
    return nearest != NULL && least <= MAX(1, strlen(word) / 3) ? nearest : NULL;
}
