"""Instructions and references of PIV (SP 800-73-4 part 2, tables 2 and 6), and the YubiKey's beyond it."""

VERIFY = 0x20
CHANGE_REFERENCE = 0x24
RESET_RETRY = 0x2C
GENERATE = 0x47
AUTHENTICATE = 0x87
GET_DATA = 0xCB
PUT_DATA = 0xDB

MOVE = 0xF6
GET_METADATA = 0xF7
GET_SERIAL = 0xF8
ATTEST = 0xF9
SET_RETRIES = 0xFA
RESET = 0xFB
IMPORT = 0xFE
SET_MANAGEMENT_KEY = 0xFF
READ_CONFIG = 0x1D
"""Of the YubiKey's management application."""

GLOBAL_PIN = 0x00
PIN = 0x80
PUK = 0x81
MANAGEMENT = 0x9B
"""References (P2) of the card's PIN, the application's PIN, the PUK and the management key."""
