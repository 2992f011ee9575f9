"""The DICOM archives behind ``/dicom-web``: what has left the spool, and if wanted all that they hold, is answered from them."""
