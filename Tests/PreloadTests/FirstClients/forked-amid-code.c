// Forks while another thread makes its first machine and runs it: the child's own is as good as any.
#include "first.h"
#include <pthread.h>
#include <stdatomic.h>

static atomic_bool over;

// 0 to `count`, each over a port; mmio and cpuid between them.
static int count_up(uint8_t count) {
    const uint8_t code[] = {
        0x31, 0xF6,                        // xor si, si
        0x46, 0x89, 0xF0, 0xE6, 0x10,      // again: inc si; mov ax, si; out 10h, al
        0x0F, 0xA2, 0xA0, 0x00, 0xF0,      // cpuid; mov al, [F000h]
        0x83, 0xFE, count, 0x75, 0xF1,     // cmp si, count; jne again
        0xF4,                              // hlt
    };
    make_machine(0xF000);
    start_real(code, sizeof code);
    for (int said = 0;;) {
        switch (go()) {
        case EXIT_IO: said = run.io.value & 0xFF; run.emulated = 1; break;
        case EXIT_CPUID: answer_cpuid(); break;
        case EXIT_MMIO: run.mmio_completed = 1; break;
        case EXIT_HLT: return said;
        default: return -1;
        }
    }
}

static void *meet_code(void *argument) {
    CHECK(count_up(100) == 100);
    atomic_store(&over, 1);
    return argument;
}

static int fork_amid_code(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, meet_code, NULL) == 0);
    do {
        pid_t child = fork();
        if (child == 0) _exit(count_up(6));
        CHECK(status_of(child) == 6);
    } while (!atomic_load(&over));
    CHECK(pthread_join(thread, NULL) == 0);
    return count_up(9);
}

// In one process after the other: each has the first of its machines once.
int main(int count, char **arguments) {
    if (count > 1) return fork_amid_code();
    int well = 0;
    for (int i = 0; i < 20; i++) {
        pid_t process = fork();
        if (process == 0) {
            execl("/proc/self/exe", arguments[0], "once", NULL);
            _exit(127);
        }
        well += status_of(process) == 9;
    }
    printf("well %d\n", well);
    return 0;
}
// expect: well 20
