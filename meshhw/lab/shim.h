/* What shim.c and shim.py agree on (the functions in their order, the control file), and the parts of PKCS#11
 * v2.40 that the shim looks at. */
#ifndef MESHHW_SHIM_H
#define MESHHW_SHIM_H

#include <stdint.h>

typedef unsigned long ulong_t;

enum { NONE, SLOT, SESSION }; /* what the first argument is */

/* Every function in the order of CK_FUNCTION_LIST (v2.40): name, number of arguments, first argument. */
#define FUNCTIONS(X) \
    X(Initialize, 1, NONE) X(Finalize, 1, NONE) X(GetInfo, 1, NONE) X(GetFunctionList, 1, NONE) \
    X(GetSlotList, 3, NONE) X(GetSlotInfo, 2, SLOT) X(GetTokenInfo, 2, SLOT) X(GetMechanismList, 3, SLOT) \
    X(GetMechanismInfo, 3, SLOT) X(InitToken, 4, SLOT) X(InitPIN, 3, SESSION) X(SetPIN, 5, SESSION) \
    X(OpenSession, 5, SLOT) X(CloseSession, 1, SESSION) X(CloseAllSessions, 1, SLOT) \
    X(GetSessionInfo, 2, SESSION) X(GetOperationState, 3, SESSION) X(SetOperationState, 5, SESSION) \
    X(Login, 4, SESSION) X(Logout, 1, SESSION) X(CreateObject, 4, SESSION) X(CopyObject, 5, SESSION) \
    X(DestroyObject, 2, SESSION) X(GetObjectSize, 3, SESSION) X(GetAttributeValue, 4, SESSION) \
    X(SetAttributeValue, 4, SESSION) X(FindObjectsInit, 3, SESSION) X(FindObjects, 4, SESSION) \
    X(FindObjectsFinal, 1, SESSION) X(EncryptInit, 3, SESSION) X(Encrypt, 5, SESSION) \
    X(EncryptUpdate, 5, SESSION) X(EncryptFinal, 3, SESSION) X(DecryptInit, 3, SESSION) \
    X(Decrypt, 5, SESSION) X(DecryptUpdate, 5, SESSION) X(DecryptFinal, 3, SESSION) X(DigestInit, 2, SESSION) \
    X(Digest, 5, SESSION) X(DigestUpdate, 3, SESSION) X(DigestKey, 2, SESSION) X(DigestFinal, 3, SESSION) \
    X(SignInit, 3, SESSION) X(Sign, 5, SESSION) X(SignUpdate, 3, SESSION) X(SignFinal, 3, SESSION) \
    X(SignRecoverInit, 3, SESSION) X(SignRecover, 5, SESSION) X(VerifyInit, 3, SESSION) \
    X(Verify, 5, SESSION) X(VerifyUpdate, 3, SESSION) X(VerifyFinal, 3, SESSION) \
    X(VerifyRecoverInit, 3, SESSION) X(VerifyRecover, 5, SESSION) X(DigestEncryptUpdate, 5, SESSION) \
    X(DecryptDigestUpdate, 5, SESSION) X(SignEncryptUpdate, 5, SESSION) X(DecryptVerifyUpdate, 5, SESSION) \
    X(GenerateKey, 5, SESSION) X(GenerateKeyPair, 8, SESSION) X(WrapKey, 6, SESSION) \
    X(UnwrapKey, 8, SESSION) X(DeriveKey, 6, SESSION) X(SeedRandom, 3, SESSION) \
    X(GenerateRandom, 3, SESSION) X(GetFunctionStatus, 1, SESSION) X(CancelFunction, 1, SESSION) \
    X(WaitForSlotEvent, 3, NONE)

#define AS_INDEX(name, arity, first) F_##name,
enum { FUNCTIONS(AS_INDEX) COUNT };

#define AS_ARITY(name, arity, first) arity,
static const int arity_of[] = {FUNCTIONS(AS_ARITY)};
#define AS_FIRST(name, arity, first) first,
static const int first_of[] = {FUNCTIONS(AS_FIRST)};

enum {
    CKR_OK = 0x0,
    CKR_GENERAL_ERROR = 0x5,
    CKR_DEVICE_MEMORY = 0x31,
    CKR_DEVICE_REMOVED = 0x32,
    CKR_PIN_LOCKED = 0xA4,
    CKR_SESSION_COUNT = 0xB1,
    CKR_SESSION_HANDLE_INVALID = 0xB3,
    CKR_TOKEN_NOT_PRESENT = 0xE0,
    CKR_BUFFER_TOO_SMALL = 0x150,
    CKF_TOKEN_PRESENT = 0x1,
    CKF_WRITE_PROTECTED = 0x2,
    CKF_USER_PIN_FINAL_TRY = 0x20000,
    CKF_USER_PIN_LOCKED = 0x40000,
};
#define PROCEED (~0UL) /* CKR_VENDOR_DEFINED and beyond: no module's answer */

/* The control file; shim.py has the same layout. All numbers are the machine's own. */
enum { LABEL = 32, TARGETS = 256 };
enum { PULLED = 1, SWAPPED = 2, LOCKED = 4, FINAL_TRY = 8, FULL = 16, READ_ONLY = 32, BUSY = 64, MONTGOMERY = 128 };
struct target {
    char label[LABEL];       /* of a token, padded with blanks as in CK_TOKEN_INFO; all zero: not in use */
    volatile uint32_t state; /* PULLED… */
    volatile uint32_t epoch; /* changed whenever the token goes: sessions of an earlier one are void */
    volatile uint32_t only;  /* 1 + index of the one function that delay, hang and error are for; 0: all */
    volatile uint32_t delay_ms;
    volatile uint32_t hang;
    volatile uint32_t times; /* how often the error is still given */
    volatile uint64_t error;
};
struct control {
    uint64_t magic;
    volatile uint64_t calls[128];
    struct target targets[TARGETS];
};
static const uint64_t MAGIC = 0x314d494853484d4dUL; /* "MMHSHIM1" */

struct token_info {
    char label[LABEL], manufacturer[32], model[16], serial[16];
    ulong_t flags;
};
struct slot_info {
    char description[64], manufacturer[32];
    ulong_t flags;
};

struct attribute {
    ulong_t type;
    void *value;
    ulong_t length;
};
struct mechanism {
    ulong_t mechanism;
    void *parameter;
    ulong_t length;
};
enum { CKA_KEY_TYPE = 0x100, CKA_EC_PARAMS = 0x180, CKK_EC_EDWARDS = 0x40, CKK_EC_MONTGOMERY = 0x41 };
enum { CKM_EC_EDWARDS_KEY_PAIR_GEN = 0x1055, CKM_EC_MONTGOMERY_KEY_PAIR_GEN = 0x1056 };

#endif
