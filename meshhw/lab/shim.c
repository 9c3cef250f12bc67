/* A PKCS#11 module that stands between a program and a real module: it counts every call, and answers as a
 * token that was pulled, swapped, locked or filled would, or late, or never.
 *
 * It finds the real module and its control file in "<its own path>.conf" (two lines). The control file is
 * mapped by every process that loads this module, and by meshhw/lab/shim.py (the layout is in shim.h):
 * what is written there is obeyed at the next call, in all of them.
 *
 * Arguments of PKCS#11 functions are pointers or at most as long as CK_ULONG, so they are handed on as CK_ULONG.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "shim.h"

static struct control *control;
static void *real[COUNT];

struct open_session {
    ulong_t handle, slot;
    uint32_t epoch;
    char label[LABEL];
    int used;
};
enum { SESSIONS = 4096 };
static struct open_session sessions[SESSIONS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static ulong_t forward(int f, const ulong_t *a)
{
    switch (arity_of[f]) {
    case 1: return ((ulong_t(*)(ulong_t))real[f])(a[0]);
    case 2: return ((ulong_t(*)(ulong_t, ulong_t))real[f])(a[0], a[1]);
    case 3: return ((ulong_t(*)(ulong_t, ulong_t, ulong_t))real[f])(a[0], a[1], a[2]);
    case 4: return ((ulong_t(*)(ulong_t, ulong_t, ulong_t, ulong_t))real[f])(a[0], a[1], a[2], a[3]);
    case 5:
        return ((ulong_t(*)(ulong_t, ulong_t, ulong_t, ulong_t, ulong_t))real[f])(a[0], a[1], a[2], a[3], a[4]);
    case 6:
        return ((ulong_t(*)(ulong_t, ulong_t, ulong_t, ulong_t, ulong_t, ulong_t))real[f])(
            a[0], a[1], a[2], a[3], a[4], a[5]);
    default:
        return ((ulong_t(*)(ulong_t, ulong_t, ulong_t, ulong_t, ulong_t, ulong_t, ulong_t, ulong_t))real[f])(
            a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
    }
}

static struct target *target_of(const char *label)
{
    for (int i = 0; i < TARGETS; i++)
        if (control->targets[i].label[0] && !memcmp(control->targets[i].label, label, LABEL))
            return &control->targets[i];
    return NULL;
}

static struct target *target_of_slot(ulong_t slot)
{
    char info[512] = {0}; /* CK_TOKEN_INFO is shorter */
    ulong_t a[] = {slot, (ulong_t)info};
    return forward(F_GetTokenInfo, a) == CKR_OK ? target_of(info) : NULL;
}

/* The session's entry, or NULL; the lock is held. */
static struct open_session *session_of(ulong_t handle)
{
    for (int i = 0; i < SESSIONS; i++)
        if (sessions[i].used && sessions[i].handle == handle)
            return &sessions[i];
    return NULL;
}

/* The disturbances of time and answer. */
static ulong_t disturb(struct target *t, int f)
{
    if (t->only && t->only != (uint32_t)f + 1)
        return PROCEED;
    while (t->hang)
        usleep(10000);
    if (t->delay_ms)
        usleep(t->delay_ms * 1000);
    if (t->times) {
        __atomic_sub_fetch(&t->times, 1, __ATOMIC_SEQ_CST);
        return t->error;
    }
    return PROCEED;
}

static ulong_t refuse_slot(struct target *t, int f)
{
    if (t->state & PULLED && f != F_GetSlotInfo)
        return CKR_TOKEN_NOT_PRESENT;
    if (t->state & BUSY && f == F_OpenSession)
        return CKR_SESSION_COUNT;
    return PROCEED;
}

static ulong_t refuse_session(struct target *t, int f, uint32_t epoch)
{
    if (t->state & PULLED)
        return CKR_DEVICE_REMOVED;
    if (t->epoch != epoch)
        return CKR_SESSION_HANDLE_INVALID;
    if (t->state & LOCKED && f == F_Login)
        return CKR_PIN_LOCKED;
    if (t->state & FULL && (f == F_CreateObject || f == F_CopyObject || f == F_GenerateKey || f == F_GenerateKeyPair))
        return CKR_DEVICE_MEMORY;
    return PROCEED;
}

static ulong_t before(int f, const ulong_t *a)
{
    struct target *t = NULL;
    uint32_t epoch = 0;
    ulong_t rv;

    __atomic_add_fetch(&control->calls[f], 1, __ATOMIC_RELAXED);
    if (first_of[f] == SLOT) {
        t = target_of_slot(a[0]);
    } else if (first_of[f] == SESSION) {
        pthread_mutex_lock(&lock);
        struct open_session *s = session_of(a[0]);
        if (s) {
            t = target_of(s->label);
            epoch = s->epoch;
        }
        pthread_mutex_unlock(&lock);
    }
    if (!t)
        return PROCEED;
    rv = disturb(t, f);
    if (rv != PROCEED)
        return rv;
    return first_of[f] == SLOT ? refuse_slot(t, f) : refuse_session(t, f, epoch);
}

/* A token that came back knows nothing of its former sessions and logins. */
static void forget_former(ulong_t slot, const struct target *t)
{
    int former = 0;
    ulong_t a[] = {slot};

    for (int i = 0; i < SESSIONS; i++)
        if (sessions[i].used && sessions[i].slot == slot && sessions[i].epoch != t->epoch)
            former = 1, sessions[i].used = 0;
    if (former)
        forward(F_CloseAllSessions, a);
}

static ulong_t open_session(const ulong_t *a)
{
    char info[512] = {0};
    ulong_t asked[] = {a[0], (ulong_t)info}, rv;
    struct target *t = forward(F_GetTokenInfo, asked) == CKR_OK ? target_of(info) : NULL;

    pthread_mutex_lock(&lock);
    if (t)
        forget_former(a[0], t);
    rv = forward(F_OpenSession, a);
    for (int i = 0; rv == CKR_OK && i < SESSIONS; i++)
        if (!sessions[i].used) {
            sessions[i].used = 1;
            sessions[i].handle = *(ulong_t *)a[4];
            sessions[i].slot = a[0];
            sessions[i].epoch = t ? t->epoch : 0;
            memcpy(sessions[i].label, info, LABEL);
            break;
        }
    pthread_mutex_unlock(&lock);
    return rv;
}

static ulong_t close_session(const ulong_t *a)
{
    ulong_t rv = forward(F_CloseSession, a);
    pthread_mutex_lock(&lock);
    struct open_session *s = session_of(a[0]);
    if (s)
        s->used = 0;
    pthread_mutex_unlock(&lock);
    return rv;
}

/* C_GetSlotList without the slots whose token is pulled. */
static ulong_t slot_list(const ulong_t *a)
{
    ulong_t found[1024], count = 1024, kept = 0, *out = (ulong_t *)a[1], *room = (ulong_t *)a[2];
    ulong_t asked[] = {a[0], (ulong_t)found, (ulong_t)&count}, rv = forward(F_GetSlotList, asked);

    if (rv != CKR_OK)
        return rv;
    for (ulong_t i = 0; i < count; i++) {
        struct target *t = (a[0] & 0xff) ? target_of_slot(found[i]) : NULL;
        if (!t || !(t->state & PULLED))
            found[kept++] = found[i];
    }
    if (out && *room < kept)
        rv = CKR_BUFFER_TOO_SMALL;
    else if (out)
        memcpy(out, found, kept * sizeof *found);
    *room = kept;
    return rv;
}

static ulong_t token_info(const ulong_t *a)
{
    struct token_info *info = (struct token_info *)a[1];
    ulong_t rv = forward(F_GetTokenInfo, a);
    struct target *t = rv == CKR_OK ? target_of(info->label) : NULL;

    if (!t)
        return rv;
    if (t->state & SWAPPED) {
        memcpy(info->label, "another token                   ", LABEL);
        memcpy(info->serial, "0123456789abcdef", sizeof info->serial);
    }
    info->flags |= (t->state & LOCKED ? CKF_USER_PIN_LOCKED : 0) | (t->state & FINAL_TRY ? CKF_USER_PIN_FINAL_TRY : 0)
        | (t->state & READ_ONLY ? CKF_WRITE_PROTECTED : 0);
    return rv;
}

static ulong_t slot_info(const ulong_t *a)
{
    ulong_t rv = forward(F_GetSlotInfo, a);
    struct target *t = rv == CKR_OK ? target_of_slot(a[0]) : NULL;
    if (t && t->state & PULLED)
        ((struct slot_info *)a[1])->flags &= ~(ulong_t)CKF_TOKEN_PRESENT;
    return rv;
}

/* MONTGOMERY: a module that keeps X25519 and X448 keys under CKK_EC_EDWARDS speaks as the standard has it. */

static int is_montgomery_slot(ulong_t slot)
{
    struct target *t = target_of_slot(slot);
    return t && t->state & MONTGOMERY;
}

static int is_montgomery_session(ulong_t handle)
{
    pthread_mutex_lock(&lock);
    struct open_session *s = session_of(handle);
    struct target *t = s ? target_of(s->label) : NULL;
    pthread_mutex_unlock(&lock);
    return t && t->state & MONTGOMERY;
}

static ulong_t mechanism_list(const ulong_t *a)
{
    ulong_t found[1024], count = 1023, *out = (ulong_t *)a[1], *room = (ulong_t *)a[2];
    ulong_t asked[] = {a[0], (ulong_t)found, (ulong_t)&count}, rv;

    if (!is_montgomery_slot(a[0]))
        return forward(F_GetMechanismList, a);
    rv = forward(F_GetMechanismList, asked);
    if (rv != CKR_OK)
        return rv;
    found[count++] = CKM_EC_MONTGOMERY_KEY_PAIR_GEN;
    if (out && *room < count)
        rv = CKR_BUFFER_TOO_SMALL;
    else if (out)
        memcpy(out, found, count * sizeof *found);
    *room = count;
    return rv;
}

static ulong_t mechanism_info(const ulong_t *a)
{
    ulong_t asked[] = {a[0], a[1], a[2]};
    if (a[1] == CKM_EC_MONTGOMERY_KEY_PAIR_GEN && is_montgomery_slot(a[0]))
        asked[1] = CKM_EC_EDWARDS_KEY_PAIR_GEN;
    return forward(F_GetMechanismInfo, asked);
}

/* A copy of a template in the module's own words; the copy is `room` attributes long. */
static struct attribute *edwards_template(const ulong_t template, ulong_t count, struct attribute *copy, ulong_t room)
{
    static ulong_t edwards = CKK_EC_EDWARDS;

    if (!template || count > room)
        return (struct attribute *)template;
    memcpy(copy, (void *)template, count * sizeof *copy);
    for (ulong_t i = 0; i < count; i++)
        if (copy[i].type == CKA_KEY_TYPE && *(ulong_t *)copy[i].value == CKK_EC_MONTGOMERY)
            copy[i].value = &edwards;
    return copy;
}

static ulong_t with_template(int f, const ulong_t *a)
{
    struct attribute copy[64];
    ulong_t asked[] = {a[0], (ulong_t)edwards_template(a[1], a[2], copy, 64), a[2], a[3]};
    return forward(f, is_montgomery_session(a[0]) ? asked : a);
}

static ulong_t key_pair(const ulong_t *a)
{
    struct attribute public[64], private[64];
    struct mechanism how = *(struct mechanism *)a[1];
    ulong_t asked[8];

    if (!is_montgomery_session(a[0]))
        return forward(F_GenerateKeyPair, a);
    if (how.mechanism == CKM_EC_MONTGOMERY_KEY_PAIR_GEN)
        how.mechanism = CKM_EC_EDWARDS_KEY_PAIR_GEN;
    memcpy(asked, a, sizeof asked);
    asked[1] = (ulong_t)&how;
    asked[2] = (ulong_t)edwards_template(a[2], a[3], public, 64);
    asked[4] = (ulong_t)edwards_template(a[4], a[5], private, 64);
    return forward(F_GenerateKeyPair, asked);
}

/* Whether CKA_EC_PARAMS names curve25519 or curve448 (RFC 8410: 1.3.101.110 and .111). */
static int is_montgomery_object(ulong_t session, ulong_t object)
{
    unsigned char params[64] = {0};
    struct attribute one = {CKA_EC_PARAMS, params, sizeof params};
    ulong_t asked[] = {session, object, (ulong_t)&one, 1};

    if (forward(F_GetAttributeValue, asked) != CKR_OK)
        return 0;
    return params[0] == 0x13 ? params[2] == 'c' : params[0] == 6 && (params[4] == 0x6e || params[4] == 0x6f);
}

static ulong_t attribute_values(const ulong_t *a)
{
    struct attribute *asked = (struct attribute *)a[2];
    ulong_t rv = forward(F_GetAttributeValue, a);

    if (!is_montgomery_session(a[0]))
        return rv;
    for (ulong_t i = 0; i < a[3]; i++)
        if (asked[i].type == CKA_KEY_TYPE && asked[i].value && asked[i].length == sizeof(ulong_t)
            && *(ulong_t *)asked[i].value == CKK_EC_EDWARDS && is_montgomery_object(a[0], a[1]))
            *(ulong_t *)asked[i].value = CKK_EC_MONTGOMERY;
    return rv;
}

static ulong_t list_functions(void **list);

static ulong_t run(int f, const ulong_t *a)
{
    ulong_t rv = before(f, a);
    if (rv != PROCEED)
        return rv;
    switch (f) {
    case F_GetFunctionList: return list_functions((void **)a[0]);
    case F_GetSlotList: return slot_list(a);
    case F_GetTokenInfo: return token_info(a);
    case F_GetSlotInfo: return slot_info(a);
    case F_GetMechanismList: return mechanism_list(a);
    case F_GetMechanismInfo: return mechanism_info(a);
    case F_CreateObject: /* fall through */
    case F_FindObjectsInit: return with_template(f, a);
    case F_GetAttributeValue: return attribute_values(a);
    case F_GenerateKeyPair: return key_pair(a);
    case F_OpenSession: return open_session(a);
    case F_CloseSession: return close_session(a);
    default: return forward(f, a);
    }
}

#define P1 ulong_t a
#define P2 P1, ulong_t b
#define P3 P2, ulong_t c
#define P4 P3, ulong_t d
#define P5 P4, ulong_t e
#define P6 P5, ulong_t f
#define P8 P6, ulong_t g, ulong_t h
#define A1 a
#define A2 A1, b
#define A3 A2, c
#define A4 A3, d
#define A5 A4, e
#define A6 A5, f
#define A8 A6, g, h
#define AS_FUNCTION(name, arity, first) \
    static ulong_t shim_##name(P##arity) \
    { \
        const ulong_t arguments[8] = {A##arity}; \
        return run(F_##name, arguments); \
    }
FUNCTIONS(AS_FUNCTION)

#define AS_ENTRY(name, arity, first) (void *)shim_##name,
static struct {
    unsigned char version[2];
    void *functions[COUNT];
} functions = {{2, 40}, {FUNCTIONS(AS_ENTRY)}};

static int map_control(const char *path)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *mapped = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file >= 0)
        close(file);
    if (mapped == MAP_FAILED || ((struct control *)mapped)->magic != MAGIC)
        return 0;
    control = mapped;
    return 1;
}

static const char *entry = "C_GetFunctionList";

static int load_real(const char *path)
{
    ulong_t (*get)(void **);
    void *list = NULL, *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    *(void **)&get = library ? dlsym(library, entry) : NULL;
    if (!get || get(&list) != CKR_OK || !list)
        return 0;
    memcpy(real, (char *)list + sizeof(void *), sizeof real);
    return 1;
}

static int configured(void)
{
    char path[4096], module[4096], file[4096];
    Dl_info self;
    FILE *text;
    int read;

    if (!dladdr((void *)run, &self) || snprintf(path, sizeof path, "%s.conf", self.dli_fname) >= (int)sizeof path)
        return 0;
    if (!(text = fopen(path, "r")))
        return 0;
    read = fscanf(text, "%4095[^\n]\n%4095[^\n]", module, file);
    fclose(text);
    return read == 2 && map_control(file) && load_real(module);
}

static ulong_t list_functions(void **list)
{
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    int ready;

    pthread_mutex_lock(&once);
    ready = control && real[0] ? 1 : configured();
    pthread_mutex_unlock(&once);
    if (!ready || !list)
        return CKR_GENERAL_ERROR;
    *list = &functions;
    return CKR_OK;
}

__attribute__((visibility("default"))) ulong_t C_GetFunctionList(void **list)
{
    return list_functions(list);
}

/* NSS in FIPS mode has a list of its own; who asks for it wants that one behind ours. */
__attribute__((visibility("default"))) ulong_t FC_GetFunctionList(void **list)
{
    entry = "FC_GetFunctionList";
    return configured() ? list_functions(list) : CKR_GENERAL_ERROR;
}
