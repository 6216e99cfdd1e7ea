"""A small clinic as a web service: FastAPI on pymongo's AsyncMongoClient, as a hospital might write it.

It knows nothing of Sealwire and imports none of its rooms: whether the fields of a patient are encrypted is
decided by the connection string in MONGODB_URI alone.

- `models` says what goes in and out: pydantic's models, with the check digit of NHS numbers.
- `records` keeps patients and appointments: every command that the service sends to MongoDB.
- `problems` says what answer each error becomes; no answer and no log repeats what was sent.
- `app` is the service: routes, lifespan, health.

No identifier is ever in a URL, so that none is in the access log of anything on the way: who looks for
somebody sends the NHS number in a body. `deploy/nginx/clinic.conf` ends HTTPS before it.
"""
