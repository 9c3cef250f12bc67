"""Key-store driver `yubikey:`: PIV cards (SP 800-73-4), with the YubiKey's extensions where they are."""

from meshhw_piv.driver import PivDriver

driver = PivDriver()
