"""Key-store driver for TPM 2.0 chips. The vendor library is loaded when a TPM is first asked for."""

from meshhw_tpm.driver import TpmDriver

driver = TpmDriver()
