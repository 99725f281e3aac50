/* virtbusctl: a client of virtbus like any other. It owns nothing and keeps nothing. */
#include <locale.h>
#include <stdio.h>

#include "tools/virtbusctl/args.h"
#include "tools/virtbusctl/style.h"

static CtlStatus run(Ctl *ctl, int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    if (!args_begin(ctl, argc, argv, &error)) {
        return ctl_fail(ctl, error);
    }
    if (ctl->command != NULL) {
        return ctl->command->run(ctl);
    }
    g_autofree char *page = args_help();
    fputs(page, stdout);
    return CTL_DONE;
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    /* Numbers are written and read as the contract has them, in any locale. */
    setlocale(LC_NUMERIC, "C");
    style_start();
    Ctl ctl;
    CtlStatus status = run(&ctl, argc, argv);
    args_clear(&ctl);
    if (fflush(stdout) != 0 && status == CTL_DONE) {
        perror("virtbusctl: standard output");
        status = CTL_FAILED;
    }
    return (int)status;
}
