// A thousand machines, made, run and dropped: as many descriptors and about as much memory as before.
#include "client.h"
#include <dirent.h>

static int descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (readdir(folder)) count++;
    closedir(folder);
    return count;
}

static long pages(void) {
    long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(fscanf(file, "%ld %ld", &size, &resident) == 2);
    fclose(file);
    return resident;
}

static void once(void) {
    static const uint8_t code[] = {0xB0, 0x2A, 0xE6, 0x10, 0xF4};
    struct machine m = make_machine(0x10000);
    make_cpu(&m);
    start_real(&m, m.cpu, code, sizeof code, 0x1000);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    CHECK(munmap(m.run, m.area) == 0 && munmap(m.memory, m.size) == 0);
    close(m.cpu);
    close(m.vm);
    close(m.kvm);
}

int main(void) {
    for (int i = 0; i < 100; i++) once();
    int files = descriptors();
    long before = pages();
    for (int i = 0; i < 1000; i++) once();
    long more = pages() - before;
    if (more > 512) fprintf(stderr, "%ld pages more\n", more);
    printf("%d descriptors more, memory %s\n", descriptors() - files, more <= 512 ? "as before" : "grew");
    return more > 512;
}
// expect: 0 descriptors more, memory as before
