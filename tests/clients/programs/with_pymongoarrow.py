"""pymongoarrow: collections as pandas' data frames and Arrow's tables, and back."""

import sys
from typing import Any

import pandas as pd
import pyarrow as pa
import pymongoarrow
from lines import failure, head, say
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from pymongoarrow.api import (
    Schema,
    aggregate_pandas_all,
    find_arrow_all,
    find_numpy_all,
    find_pandas_all,
    write,
)
from pymongoarrow.errors import ArrowWriteError

SCHEMA = Schema({"_id": pa.int64(), "nhs_number": pa.string(), "visits": pa.int32(), "ward": pa.string()})


def shown(frame: pd.DataFrame) -> Any:
    return frame.to_dict(orient="records")


def main(uri: str) -> None:
    head("pymongoarrow and pandas", f"{pymongoarrow.__version__}, {pd.__version__}")
    with MongoClient[dict[str, Any]](uri) as client:
        database = client.get_default_database()
        client.drop_database(database.name)
        patients = database.patients
        patients.create_index("nhs_number", unique=True)
        frame = pd.DataFrame(
            {
                "_id": range(300),
                "nhs_number": [f"canary-{number}" for number in range(300)],
                "surname": ["Smith canary", "smithson canary", "Jones canary"] * 100,
                "visits": pd.Series([number % 50 for number in range(300)], dtype="int32"),
                "ward": ["renal" if number % 2 else "a+e" for number in range(300)],
            }
        )
        say("insert a frame", write(patients, frame).inserted_count)
        table = pa.table(
            {
                "_id": [1000, 1001],
                "nhs_number": ["canary-1000", "canary-1001"],
                "address": [{"postcode": "canary M1"}, {"postcode": "canary M2"}],
                "notes": ["canary: one", "canary: two"],
            }
        )
        say("insert a table", write(patients, table).inserted_count)
        say("find", shown(find_pandas_all(patients, {"nhs_number": "canary-7"}, schema=SCHEMA)))
        some = {"nhs_number": {"$in": ["canary-1", "canary-2"]}}
        say("queries", find_arrow_all(patients, some, schema=SCHEMA, sort=[("_id", 1)]).to_pylist())
        say("range", find_pandas_all(patients, {"visits": {"$gte": 48}}, schema=SCHEMA).shape)
        smiths = {"surname": {"$regex": "^smi", "$options": "i"}}
        say("find by surname", find_pandas_all(patients, smiths, schema=SCHEMA).shape)
        order = [("surname", 1), ("_id", -1)]
        say("sort by surname", find_arrow_all(patients, {}, schema=SCHEMA, sort=order, limit=120).to_pylist())
        arrays = find_numpy_all(patients, {"ward": "renal"}, schema=SCHEMA, batch_size=30)
        say("cursor", [int(arrays["visits"].sum()), sorted(map(str, arrays["nhs_number"]))])
        nested = Schema({"_id": pa.int64(), "address": {"postcode": pa.string()}, "notes": pa.string()})
        say("nested", find_arrow_all(patients, {"_id": {"$gte": 1000}}, schema=nested).to_pylist())
        say("schema by looking", shown(find_pandas_all(patients, {"_id": {"$in": [3, 4]}})))
        pipeline = [
            {"$match": {"visits": {"$in": [1, 2]}}},
            {"$group": {"_id": "$visits", "patients": {"$sum": 1}, "first": {"$min": "$_id"}}},
            {"$sort": {"first": 1}},
        ]
        counts = Schema({"_id": pa.int32(), "patients": pa.int32(), "first": pa.int64()})
        say("aggregate", shown(aggregate_pandas_all(patients, pipeline, schema=counts)))
        with client.start_session() as session, session.start_transaction():
            found = find_pandas_all(patients, {"nhs_number": "canary-7"}, schema=SCHEMA, session=session)
            patients.delete_one({"nhs_number": "canary-7"}, session=session)
        say("transaction", [shown(found), patients.count_documents({"nhs_number": "canary-7"})])
        errors(patients, frame)


def errors(patients: Any, frame: pd.DataFrame) -> None:
    try:
        write(patients, frame.head(1).assign(_id=5000))
    except ArrowWriteError as error:
        say("duplicate", [(each["index"], each["code"]) for each in error.details["writeErrors"]])
    try:
        say("prefix", find_pandas_all(patients, {"nhs_number": {"$regex": "^canary-2"}}, schema=SCHEMA).shape)
    except OperationFailure as error:
        say("prefix", failure(error))


if __name__ == "__main__":
    main(sys.argv[1])
