"""Admission: what may change or refuse a write after authorisation, as an ordered list of plug-ins."""
