/* What somebody may have meant who mistyped a word. Pure. */
#pragma once

#include <glib.h>

/* The one of `known` (ends with NULL) that is nearest to `word`; NULL: none is near. Borrowed. */
const char *suggest_nearest(const char *word, const char *const *known);
