// The kernel's share: system calls, processes, page faults, context switches.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "programs.h"

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

// Ten thousand system calls a turn.
static uint64_t getppid_calls(uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < count * 10000; turn++)
        sum += syscall(SYS_getppid) > 0;
    return sum;
}

// Ten processes a turn, each of which runs this program anew.
static uint64_t fork_exec(uint64_t count)
{
    uint64_t ended = 0;
    for (uint64_t turn = 0; turn < count * 10; turn++) {
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            execl(program_path, "programs", "nothing", (char *)NULL);
            _exit(1);
        }
        int status;
        if (waitpid(child, &status, 0) < 0)
            fail("waitpid");
        ended += status == 0;
    }
    return ended;
}

// 4 MiB in pages of 4 KiB a turn, each touched once.
static uint64_t page_faults(uint64_t count)
{
    enum { bytes = 4 << 20 };
    uint64_t sum = 0;
    for (uint64_t turn = 0; turn < count; turn++) {
        uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            fail("mmap");
        madvise(memory, bytes, MADV_NOHUGEPAGE);
        for (int place = 0; place < bytes; place += 4096)
            sum += ++memory[place];
        munmap(memory, bytes);
    }
    return sum;
}

// A thousand round trips of a byte between two processes a turn.
static uint64_t switches(uint64_t count)
{
    int there[2], back[2];
    if (pipe(there) || pipe(back))
        fail("pipe");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    char byte = 0;
    if (child == 0) {
        close(there[1]);
        while (read(there[0], &byte, 1) == 1) {
            byte++;
            if (write(back[1], &byte, 1) != 1)
                _exit(1);
        }
        _exit(0);
    }
    for (uint64_t turn = 0; turn < count * 1000; turn++)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            fail("pipe");
    close(there[0]), close(there[1]), close(back[0]), close(back[1]);
    waitpid(child, NULL, 0);
    return (uint8_t)byte;
}

const struct program system_programs[] = {
    {"getppid", getppid_calls}, {"fork-exec", fork_exec}, {"page-faults", page_faults}, {"context-switches", switches}, {0},
};
