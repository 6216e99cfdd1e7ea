"""The worked example: a small NHS clinic with invented patients.

`clinic_app` and `clinic_desk` are ordinary MongoDB programs that know nothing of Sealwire, and
`fastapi_clinic` is a web service on the asynchronous driver;
`policy.yaml` says which of their fields are encrypted; `patients` and `nhs_number` invent the data.
Nobody in it exists: NHS numbers come from the block kept for tests, telephone numbers from those kept
for drama, postcodes from an area that does not exist.
"""
