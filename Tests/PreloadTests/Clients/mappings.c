// What can be mapped of a vCPU: how much, from where, with which rights, and to oneself.
#include "client.h"
#include <setjmp.h>

static struct machine m;
static sigjmp_buf place;

static void jump(int number) { siglongjmp(place, number); }

static const char *map(uint64_t pages, int protection, int flags, int64_t first) {
    void *area = mmap(NULL, pages * 4096, protection, flags, m.cpu, first * 4096);
    if (area == MAP_FAILED) return strerrorname_np(errno);
    munmap(area, pages * 4096);
    return "mapped";
}

// Whether the page can be read, through a mapping of so many from 0 on.
static const char *look(uint64_t pages, uint64_t page) {
    volatile uint8_t *area = mmap(NULL, pages * 4096, PROT_READ, MAP_SHARED, m.cpu, 0);
    CHECK(area != MAP_FAILED);
    const char *seen = "SIGBUS";
    if (sigsetjmp(place, 1) == 0) {
        (void)area[page * 4096];
        seen = "there";
    }
    munmap((void *)area, pages * 4096);
    return seen;
}

enum { READ = PROT_READ, WRITE = PROT_READ | PROT_WRITE, RUN = PROT_READ | PROT_EXEC };

static void maps(void) {
    printf("area: %s %s %s %s %s\n", map(3, WRITE, MAP_SHARED, 0), map(3, WRITE, MAP_PRIVATE, 0),
           map(3, READ, MAP_SHARED, 0), map(3, RUN, MAP_SHARED, 0), map(3, PROT_NONE, MAP_SHARED, 0));
    printf("flags: %s %s %s\n", map(1, WRITE, MAP_SHARED_VALIDATE, 0), map(1, WRITE, MAP_SHARED_VALIDATE | MAP_SYNC, 0),
           map(1, WRITE, 0, 0));
    printf("lengths: %s %s %s %s\n", map(0, WRITE, MAP_SHARED, 0), map(4, WRITE, MAP_SHARED, 0),
           map(100, WRITE, MAP_SHARED, 0), map(1 << 28, WRITE, MAP_SHARED, 0));
    printf("places: %s %s %s %s\n", map(1, WRITE, MAP_SHARED, 1), map(1, WRITE, MAP_SHARED, 7),
           map(1, WRITE, MAP_SHARED, 1000), map(1, WRITE, MAP_SHARED, -1));
    printf("ring: %s %s %s %s %s %s\n", map(2, WRITE, MAP_SHARED, 64), map(2, READ, MAP_SHARED, 64),
           map(2, WRITE, MAP_SHARED_VALIDATE, 64), map(1, WRITE, MAP_SHARED, 65), map(3, WRITE, MAP_SHARED, 64),
           map(66, WRITE, MAP_SHARED, 0));
    printf("to oneself: %s %s %s %s %s %s\n", map(2, WRITE, MAP_PRIVATE, 64), map(1, READ, MAP_PRIVATE, 65),
           map(66, WRITE, MAP_PRIVATE, 0), map(3, WRITE, MAP_PRIVATE, 64), map(2, WRITE, MAP_PRIVATE, 63),
           map(4, WRITE, MAP_PRIVATE, 63));
    printf("pages: %s %s %s %s %s %s\n", look(3, 0), look(3, 2), look(5, 4), look(70, 63), look(70, 65), look(70, 66));
}

int main(void) {
    m = make_machine(0x10000);
    struct sigaction action = {.sa_handler = jump};
    CHECK(sigaction(SIGBUS, &action, NULL) == 0);
    make_cpu(&m);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, m.cpu, 1) == MAP_FAILED && errno == EINVAL);
    maps();
    m = make_machine(0x10000);
    struct kvm_enable_cap rings = {.cap = KVM_CAP_DIRTY_LOG_RING, .args = {8192}};
    CHECK(ioctl(m.vm, KVM_ENABLE_CAP, &rings) == 0);
    make_cpu(&m);
    maps();
    return 0;
}
// expect: area: mapped mapped mapped EPERM mapped
// expect: flags: mapped EOPNOTSUPP EINVAL
// expect: lengths: EINVAL mapped mapped mapped
// expect: places: mapped mapped mapped EOVERFLOW
// expect: ring: mapped mapped mapped mapped mapped mapped
// expect: to oneself: mapped mapped mapped mapped mapped mapped
// expect: pages: there there SIGBUS SIGBUS SIGBUS SIGBUS
// expect: area: mapped mapped mapped EPERM mapped
// expect: flags: mapped EOPNOTSUPP EINVAL
// expect: lengths: EINVAL mapped mapped mapped
// expect: places: mapped mapped mapped EOVERFLOW
// expect: ring: mapped mapped mapped mapped mapped mapped
// expect: to oneself: EINVAL EINVAL EINVAL EINVAL EINVAL mapped
// expect: pages: there there SIGBUS SIGBUS there SIGBUS
