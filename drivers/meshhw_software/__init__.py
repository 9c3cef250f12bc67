"""Key-store driver `software:`: private keys in an encrypted vault, where no token is at hand."""

from meshhw_software.driver import SoftwareDriver

driver = SoftwareDriver()
