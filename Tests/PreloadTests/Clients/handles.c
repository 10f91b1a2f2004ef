// Handles as descriptors: duplicated, passed over a socket, inherited, looked at, mapped twice, unmapped by halves, and
// closed in every order.
#include "client.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

static const uint8_t code[] = {0xB0, 0x2A, 0xE6, 0x10, 0xF4};  // mov al, 2ah; out 10h, al; hlt

static int pass(int descriptor) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    CHECK(sendmsg(ends[0], &message, 0) == 1);
    memset(control, 0, sizeof control);
    CHECK(recvmsg(ends[1], &message, 0) == 1);
    int received;
    memcpy(&received, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    close(ends[0]);
    close(ends[1]);
    return received;
}

static void copies(void) {
    struct machine m = make_machine(0x10000);
    make_cpu(&m);
    int vm = dup(m.vm), cpu = fcntl(m.cpu, F_DUPFD_CLOEXEC, 50), kvm = dup3(m.kvm, 60, O_CLOEXEC);
    CHECK(cpu >= 50 && kvm == 60);
    close(m.vm);
    close(m.cpu);
    close(m.kvm);
    CHECK(ioctl(m.cpu, KVM_RUN, 0) == -1 && errno == EBADF);
    int passed = pass(cpu);
    close(cpu);
    CHECK(ioctl(kvm, KVM_GET_API_VERSION, 0) == 12);
    CHECK(ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY) == 1);
    start_real(&m, passed, code, sizeof code, 0x1000);
    CHECK(run(passed, m.run) == KVM_EXIT_IO);
    print_port(m.run);
    // A machine lives while a vCPU of it does.
    close(vm);
    CHECK(run(passed, m.run) == KVM_EXIT_HLT);
    printf("halt\n");
    close(passed);
    close(kvm);
    munmap(m.run, m.area);
}

static void looks(void) {
    struct machine m = make_machine(0x10000);
    make_cpu(&m);
    struct stat status;
    CHECK(stat("/dev/kvm", &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(10, 232));
    CHECK(fstat(m.kvm, &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == makedev(10, 232));
    CHECK(fstat(m.vm, &status) == 0 && (status.st_mode & S_IFMT) == 0 && status.st_size == 0);
    struct statx extended;
    CHECK(statx(AT_FDCWD, "/dev/kvm", 0, STATX_BASIC_STATS, &extended) == 0 && S_ISCHR(extended.stx_mode));
    CHECK(extended.stx_rdev_major == 10 && extended.stx_rdev_minor == 232);
    CHECK(statx(m.kvm, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended) == 0 && S_ISCHR(extended.stx_mode));
    CHECK(statx(m.vm, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended) == 0 && (extended.stx_mode & S_IFMT) == 0);
    CHECK(access("/dev/kvm", R_OK | W_OK) == 0);
    uint64_t word = 0;
    CHECK(read(m.vm, &word, 8) == -1 && errno == EINVAL);
    CHECK(write(m.cpu, &word, 8) == -1 && errno == EINVAL);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, m.vm, 0) == MAP_FAILED && errno == ENODEV);
    CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, m.kvm, 0) == MAP_FAILED && errno == ENODEV);
    struct pollfd polled[] = {{m.kvm, POLLIN | POLLOUT, 0}, {m.vm, POLLIN, 0}, {m.cpu, POLLIN, 0}};
    CHECK(poll(polled, 3, 0) == 3);
    printf("poll %d %d %d\n", polled[0].revents == (POLLIN | POLLOUT), polled[1].revents == POLLIN, polled[2].revents == POLLIN);
    CHECK(ioctl(m.vm, _IO(KVMIO, 0xFE), 0) == -1 && errno == ENOTTY);
    FILE *file = fopen("/dev/kvm", "r+");
    CHECK(file && ioctl(fileno(file), KVM_GET_API_VERSION, 0) == 12);
    int number = fileno(file);
    CHECK(fclose(file) == 0 && ioctl(number, KVM_GET_API_VERSION, 0) == -1 && errno == EBADF);

    // Two mappings are of the same pages; half of one can go.
    struct kvm_run *other = map_area(&m, m.cpu);
    m.run->request_interrupt_window = 1;
    CHECK(other->request_interrupt_window == 1);
    m.run->request_interrupt_window = 0;
    CHECK(munmap(other, 4096) == 0);
    start_real(&m, m.cpu, code, sizeof code, 0x1000);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    // The second page, with the port's data, is still there.
    printf("second %x\n", ((uint8_t *)other)[m.run->io.data_offset]);
    CHECK(munmap((uint8_t *)other + 4096, m.area - 4096) == 0);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_HLT);
    munmap(m.run, m.area);
    close(m.cpu);
    close(m.vm);
    close(m.kvm);
}

static void child(void) {
    struct machine m = make_machine(0x10000);
    make_cpu(&m);
    start_real(&m, m.cpu, code, sizeof code, 0x1000);
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        // A machine is of the process that made it; the device is everyone's.
        struct kvm_regs regs;
        CHECK(ioctl(m.cpu, KVM_GET_REGS, &regs) == -1 && errno == EIO);
        CHECK(ioctl(m.vm, KVM_CREATE_VCPU, 1) == -1 && errno == EIO);
        CHECK(ioctl(m.kvm, KVM_GET_API_VERSION, 0) == 12);
        int vm = ioctl(m.kvm, KVM_CREATE_VM, 0);
        CHECK(vm >= 0 && ioctl(vm, KVM_CREATE_VCPU, 0) >= 0);
        copies();
        fflush(stdout);
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
    CHECK(run(m.cpu, m.run) == KVM_EXIT_HLT);
    printf("parent\n");
}

// The three handles and the mapping, closed in each of their orders.
static void orders(void) {
    int count = 0;
    for (int order = 0; order < 256; order++) {
        int step[4], used = 0;
        for (int i = 0; i < 4; i++) used |= 1 << (step[i] = order >> (2 * i) & 3);
        if (used != 15) continue;
        struct machine m = make_machine(0x10000);
        make_cpu(&m);
        start_real(&m, m.cpu, code, sizeof code, 0x1000);
        CHECK(run(m.cpu, m.run) == KVM_EXIT_IO);
        for (int i = 0; i < 4; i++) {
            switch (step[i]) {
            case 0: CHECK(close(m.kvm) == 0); break;
            case 1: CHECK(close(m.vm) == 0); break;
            case 2: CHECK(close(m.cpu) == 0); break;
            case 3: CHECK(munmap(m.run, m.area) == 0); break;
            }
        }
        munmap(m.memory, m.size);
        count++;
    }
    printf("%d orders\n", count);
}

int main(void) {
    copies();
    looks();
    child();
    orders();
    return 0;
}
// expect: out 10 1*1: 2a
// expect: halt
// expect: poll 1 1 1
// expect: second 2a
// expect: out 10 1*1: 2a
// expect: halt
// expect: parent
// expect: 24 orders
