/* USB devices of a lab for one program: /dev/hidrawN opens a socket of the lab's, and answers as the kernel's
 * hidraw driver does (Documentation/hid/hidraw.rst).
 *
 * To be preloaded. MESHHW_LAB_HID names a directory; "hidrawN" in it is the socket of a plugged device, each
 * datagram one report, and "hidrawN.info" is a `struct info`, written by meshhw/lab/hid_port.py. Devices of
 * the machine itself are not to be seen. Without the variable nothing changes.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/hidraw.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define PREFIX "/dev/hidraw"
#define MOST_FILES 1024

struct info {
    struct hidraw_devinfo ids;
    char name[256];
    char serial[64];
    uint32_t size;
    uint8_t descriptor[HID_MAX_DESCRIPTOR_SIZE];
};

static struct info *devices[MOST_FILES]; /* by file descriptor; NULL for files that are none of ours */
static DIR *listed, *own;                /* an open /dev, and the lab's directory that is read after it */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *directory(void) { return getenv("MESHHW_LAB_HID"); }

static int ours(const char *path) { return directory() && !strncmp(path, PREFIX, sizeof PREFIX - 1); }

static struct info *device(int fd) { return fd >= 0 && fd < MOST_FILES ? devices[fd] : NULL; }

static struct info *described(const char *path) {
    char place[256];
    snprintf(place, sizeof place, "%s/%s.info", directory(), path + sizeof "/dev/" - 1);
    struct info *info = malloc(sizeof *info);
    int fd = REAL(open)(place, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 || !info ? -1 : REAL(read)(fd, info, sizeof *info);
    if (fd >= 0) REAL(close)(fd);
    if (got == sizeof *info) return info;
    free(info);
    return NULL;
}

static int connected(const char *path) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s/%s", directory(), path + sizeof "/dev/" - 1);
    struct info *info = described(path);
    int fd = info ? socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0) : -1;
    if (fd >= 0 && fd < MOST_FILES && !connect(fd, (struct sockaddr *)&name, sizeof name)) {
        devices[fd] = info;
        return fd;
    }
    if (fd >= 0) REAL(close)(fd);
    free(info);
    errno = ENODEV;
    return -1;
}

#define OPENING(name)                                                                                           \
    EXPORT int name(const char *path, int flags, ...) {                                                         \
        va_list rest;                                                                                           \
        va_start(rest, flags);                                                                                  \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                               \
        va_end(rest);                                                                                           \
        return ours(path) ? connected(path) : REAL(name)(path, flags, mode);                                    \
    }
OPENING(open)
OPENING(open64)

#define OPENING_AT(name)                                                                                        \
    EXPORT int name(int at, const char *path, int flags, ...) {                                                 \
        va_list rest;                                                                                           \
        va_start(rest, flags);                                                                                  \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;                               \
        va_end(rest);                                                                                           \
        return ours(path) ? connected(path) : REAL(name)(at, path, flags, mode);                                \
    }
OPENING_AT(openat)
OPENING_AT(openat64)

EXPORT int close(int fd) {
    if (device(fd)) {
        free(devices[fd]);
        devices[fd] = NULL;
    }
    return REAL(close)(fd);
}

/* A device that was pulled: reads say EIO, writes ENODEV. */
EXPORT ssize_t read(int fd, void *buffer, size_t size) {
    ssize_t got = REAL(read)(fd, buffer, size);
    if (!device(fd) || got > 0 || (got < 0 && errno != ECONNRESET)) return got;
    errno = EIO;
    return -1;
}

EXPORT ssize_t write(int fd, const void *buffer, size_t size) {
    if (!device(fd)) return REAL(write)(fd, buffer, size);
    ssize_t sent = send(fd, buffer, size, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) errno = ENODEV;
    return sent;
}

static int text(char *to, const char *from, unsigned long request) {
    size_t length = strlen(from) + 1, room = _IOC_SIZE(request);
    if (length > room) length = room;
    memcpy(to, from, length);
    return (int)length;
}

EXPORT int ioctl(int fd, unsigned long request, ...) {
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    struct info *info = device(fd);
    if (!info || _IOC_TYPE(request) != 'H') return REAL(ioctl)(fd, request, argument);
    struct hidraw_report_descriptor *report = argument;
    switch (_IOC_NR(request)) {
    case _IOC_NR(HIDIOCGRDESCSIZE): *(int *)argument = (int)info->size; return 0;
    case _IOC_NR(HIDIOCGRDESC): memcpy(report->value, info->descriptor, info->size); return 0;
    case _IOC_NR(HIDIOCGRAWINFO): memcpy(argument, &info->ids, sizeof info->ids); return 0;
    case _IOC_NR(HIDIOCGRAWNAME(0)): return text(argument, info->name, request);
    case _IOC_NR(HIDIOCGRAWUNIQ(0)): return text(argument, info->serial, request);
    }
    errno = EINVAL;
    return -1;
}

#define STATTING(name, result)                                                                                  \
    EXPORT int name(int fd, struct result *found) {                                                             \
        int failed = REAL(name)(fd, found);                                                                     \
        if (!failed && device(fd)) found->st_mode = S_IFCHR | 0600;                                             \
        return failed;                                                                                          \
    }
STATTING(fstat, stat)
STATTING(fstat64, stat64)

EXPORT DIR *opendir(const char *path) {
    DIR *opened = REAL(opendir)(path);
    if (opened && directory() && !listed && (!strcmp(path, "/dev") || !strcmp(path, "/dev/"))) {
        listed = opened;
        own = REAL(opendir)(directory());
    }
    return opened;
}

EXPORT int closedir(DIR *opened) {
    if (opened == listed) {
        if (own) REAL(closedir)(own);
        listed = own = NULL;
    }
    return REAL(closedir)(opened);
}

/* First what is in /dev without its devices of this kind, then the lab's. */
#define READING(name, entry)                                                                                    \
    EXPORT struct entry *name(DIR *opened) {                                                                    \
        struct entry *found;                                                                                    \
        do found = REAL(name)(opened);                                                                          \
        while (found && opened == listed && !strncmp(found->d_name, "hidraw", 6));                              \
        if (found || opened != listed || !own) return found;                                                    \
        do found = REAL(name)(own);                                                                             \
        while (found && (strncmp(found->d_name, "hidraw", 6) || strchr(found->d_name, '.')));                   \
        if (found) found->d_type = DT_CHR;                                                                      \
        return found;                                                                                           \
    }
READING(readdir, dirent)
READING(readdir64, dirent64)
