/* The part of the CUDA driver API that tells a GPU's UUID, of a machine with two unlike GPUs.

   By the PCI bus the slow one comes first, by speed the fast one does. CUDA_DEVICE_ORDER and CUDA_VISIBLE_DEVICES (numbers, or
   beginnings of UUIDs; what follows the first that is none is not seen) are read when the driver is started, as the real one does. */

#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101 };

static const unsigned char UUIDS[2][16] = { /* by the PCI bus */
    {0x11, 0x11, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x01},
    {0xaa, 0xbb, 0xcc, 0xdd, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, 0x55, 0x55, 0x55, 0x55, 0x55, 0x02},
};
static const char *const NAMES[2] = {"GPU-11111111-2222", "GPU-aabbccdd-2222"};
static int seen[2], count = -1;

static int meant(const char *word, const int order[2]) {
    if (!strcmp(word, "0") || !strcmp(word, "1")) return order[word[0] - '0'];
    for (int i = 0; i < 2; i++)
        if (strlen(word) > 4 && !strncmp(word, NAMES[i], strlen(word))) return i;
    return -1;
}

int cuInit(unsigned int flags) {
    const char *order = getenv("CUDA_DEVICE_ORDER"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    int by_pci = order && !strcmp(order, "PCI_BUS_ID"), all[2] = {by_pci ? 0 : 1, by_pci ? 1 : 0};
    char words[256] = "";
    if (flags) return INVALID_VALUE;
    if (!visible) visible = "0,1";
    strncpy(words, visible, sizeof words - 1);
    count = 0;
    for (char *word = strtok(words, ","); word && count < 2; word = strtok(NULL, ",")) {
        int found = meant(word, all);
        if (found < 0) break;
        seen[count++] = found;
    }
    return count ? SUCCESS : NO_DEVICE;
}

int cuDeviceGet(int *device, int ordinal) {
    if (count < 0) return NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= count) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

static int uuid(unsigned char *found, int device) {
    if (count < 0) return NOT_INITIALIZED;
    if (device < 0 || device >= count) return INVALID_DEVICE;
    memcpy(found, UUIDS[seen[device]], 16);
    return SUCCESS;
}

#ifndef WITHOUT_UUID
int cuDeviceGetUuid(unsigned char *found, int device) { return uuid(found, device); }
#ifndef BEFORE_11_4
int cuDeviceGetUuid_v2(unsigned char *found, int device) { return uuid(found, device); }
#endif
#endif

#ifndef BEFORE_6_0
int cuGetErrorName(int error, const char **name) {
    *name = error == NO_DEVICE ? "CUDA_ERROR_NO_DEVICE" : error == INVALID_DEVICE ? "CUDA_ERROR_INVALID_DEVICE" : NULL;
    return *name ? SUCCESS : INVALID_VALUE;
}
#endif
