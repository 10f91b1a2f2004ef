// Runs one program: `programs NAME COUNT`. Says "begin" once all is ready and "end" with the result, so that whoever listens
// can time what lies between by a clock of its own.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "programs.h"

const char *program_path;

static const struct program *const groups[] = {
    integer_programs, memory_programs, floating_programs, call_programs, system_programs,
};

int main(int argc, char **argv)
{
    program_path = argv[0];
    // What fork+exec starts.
    if (argc == 2 && strcmp(argv[1], "nothing") == 0)
        return 0;
    if (argc != 3) {
        fprintf(stderr, "usage: programs NAME COUNT\n");
        return 2;
    }
    uint64_t count = strtoull(argv[2], NULL, 10);
    for (unsigned group = 0; group < sizeof groups / sizeof *groups; group++)
        for (const struct program *program = groups[group]; program->name; program++)
            if (strcmp(program->name, argv[1]) == 0) {
                // What is made at first use is made by a first turn.
                program->run(1);
                printf("begin\n");
                fflush(stdout);
                uint64_t result = program->run(count);
                printf("end %016llx\n", (unsigned long long)result);
                return 0;
            }
    fprintf(stderr, "programs: there is no %s\n", argv[1]);
    return 2;
}
