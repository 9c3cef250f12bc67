"""Key-store driver `fido2:`: security keys that seal secrets and prove a person's presence."""

from meshhw_fido2.driver import Fido2Driver

driver = Fido2Driver()
