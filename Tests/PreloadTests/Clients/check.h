// What clients of either interface begin with.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            printf("line %d: %s: %s\n", __LINE__, #condition, strerror(errno)); \
            exit(1);                                                            \
        }                                                                       \
    } while (0)

// Whoever starts a client may have signals blocked. One that hangs ends by the alarm.
static void begin(void) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(60);
}
