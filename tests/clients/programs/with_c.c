/* The official C driver, libmongoc, as Debian packages it. */

#include <mongoc/mongoc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *PATIENTS[] = {
    "{\"_id\": 1, \"nhs_number\": \"canary-1\", \"surname\": \"Smith canary\","
    " \"address\": {\"line1\": \"1 High Street\", \"postcode\": \"canary M41\"},"
    " \"contacts\": [{\"kind\": \"home\", \"phone\": \"canary-01\"}, {\"kind\": \"work\", \"phone\": \"canary-02\"}],"
    " \"visits\": 3, \"notes\": {\"text\": \"canary: penicillin\", \"flags\": [true, 2.5, null]}, \"ward\": \"renal\"}",
    "{\"_id\": 2, \"nhs_number\": \"canary-2\", \"surname\": \"smithson canary\","
    " \"address\": {\"postcode\": \"canary M41\"}, \"visits\": 5, \"ward\": \"renal\"}",
    "{\"_id\": 3, \"nhs_number\": \"canary-3\", \"surname\": \"Jones canary\","
    " \"address\": {\"postcode\": \"canary M1\"}, \"visits\": 3, \"ward\": \"a+e\"}",
};

static const char *QUERIES[] = {
    "{\"nhs_number\": {\"$in\": [\"canary-2\", \"canary-3\", \"canary-4\"]}}",
    "{\"contacts.phone\": \"canary-02\"}",
    "{\"contacts\": {\"$elemMatch\": {\"kind\": \"home\", \"phone\": \"canary-01\"}}}",
    "{\"address.postcode\": \"canary M41\", \"ward\": \"renal\"}",
    "{\"visits\": {\"$gte\": 2, \"$lt\": 5}}",
    "{\"notes\": {\"$exists\": false}}",
    "{\"$or\": [{\"nhs_number\": \"canary-1\"}, {\"visits\": 5}]}",
};

static bson_error_t error;

static void must(bool done) {
    if (!done) {
        fprintf(stderr, "%u.%u: %s\n", error.domain, error.code, error.message);
        exit(1);
    }
}

/* The caller destroys it; this program ends soon. */
static bson_t *doc(const char *text) {
    bson_t *made = bson_new_from_json((const uint8_t *) text, -1, &error);
    must(made != NULL);
    return made;
}

static void begin(const char *step) { printf("{\"step\": \"%s\", \"seen\": ", step); }
static void end(void) { printf("}\n"); }
static void show(const bson_t *document) { printf("%s", bson_as_relaxed_extended_json(document, NULL)); }

/* What a write's reply counts, without the time of the cluster. */
static void show_counts(const bson_t *reply) {
    bson_t counts = BSON_INITIALIZER;
    bson_copy_to_excluding_noinit(reply, &counts, "$clusterTime", "operationTime", "upsertedId", "opTime", "electionId", NULL);
    show(&counts);
}

static int show_all(mongoc_cursor_t *cursor, const char *field) {
    const bson_t *document;
    int count = 0;
    printf("[");
    while (mongoc_cursor_next(cursor, &document)) {
        bson_iter_t iter;
        printf("%s", count++ ? ", " : "");
        if (field == NULL) {
            show(document);
        } else if (bson_iter_init_find(&iter, document, field)) {
            printf("%lld", (long long) bson_iter_as_int64(&iter));
        }
    }
    printf("]");
    must(!mongoc_cursor_error(cursor, &error));
    mongoc_cursor_destroy(cursor);
    return count;
}

static mongoc_cursor_t *find(mongoc_collection_t *people, const char *query, const char *options) {
    return mongoc_collection_find_with_opts(people, doc(query), doc(options), NULL);
}

static int64_t count(mongoc_collection_t *people, const char *query, const bson_t *options) {
    int64_t found = mongoc_collection_count_documents(people, doc(query), options, NULL, NULL, &error);
    must(found >= 0);
    return found;
}

static void show_error(const bson_t *reply, bool text) {
    const char *sent = text ? error.message : "";
    bson_t *seen = BCON_NEW("code", BCON_INT32((int32_t) error.code), "message", BCON_UTF8(sent));
    bson_iter_t iter, key;
    if (reply != NULL && bson_iter_init(&iter, reply) && bson_iter_find_descendant(&iter, "writeErrors.0.keyValue", &key)) {
        bson_append_iter(seen, "keyValue", -1, &key);
    }
    show(seen);
}

static void read_and_write(mongoc_collection_t *people) {
    mongoc_index_model_t *index = mongoc_index_model_new(doc("{\"nhs_number\": 1}"), doc("{\"unique\": true}"));
    must(mongoc_collection_create_indexes_with_opts(people, &index, 1, NULL, NULL, &error));
    const bson_t *patients[] = {doc(PATIENTS[0]), doc(PATIENTS[1]), doc(PATIENTS[2])};
    bson_t reply;
    must(mongoc_collection_insert_many(people, patients, 3, NULL, &reply, &error));
    begin("insert"), show_counts(&reply), end();
    begin("find"), show_all(find(people, "{\"nhs_number\": \"canary-1\"}", "{\"limit\": 1}"), NULL), end();
    begin("queries");
    for (size_t place = 0; place < sizeof QUERIES / sizeof *QUERIES; place++) {
        printf("%s", place ? ", " : "[");
        show_all(find(people, QUERIES[place], "{\"sort\": {\"_id\": 1}}"), "_id");
    }
    printf("]"), end();
    begin("find by surname");
    const char *smiths = "{\"surname\": {\"$regularExpression\": {\"pattern\": \"^smi\", \"options\": \"i\"}}}";
    show_all(find(people, smiths, "{\"sort\": {\"_id\": 1}}"), "_id"), end();
    begin("sort by surname");
    show_all(find(people, "{}", "{\"sort\": {\"surname\": 1}, \"limit\": 2}"), NULL), end();
    begin("count");
    printf("[%lld, ", (long long) count(people, "{\"visits\": 3}", NULL));
    printf("%lld]", (long long) mongoc_collection_estimated_document_count(people, NULL, NULL, NULL, &error));
    end();
    begin("projection");
    show_all(find(people, "{}", "{\"sort\": {\"_id\": 1}, \"projection\": {\"nhs_number\": 1, \"contacts.phone\": 1}}"), NULL);
    end();
    bson_t distinct;
    must(mongoc_collection_read_command_with_opts(
        people, doc("{\"distinct\": \"patients\", \"key\": \"address.postcode\"}"), NULL, NULL, &distinct, &error));
    bson_iter_t values;
    uint32_t found = 0;
    must(bson_iter_init_find(&values, &distinct, "values"));
    bson_iter_t each;
    for (must(bson_iter_recurse(&values, &each)); bson_iter_next(&each); found++) {
        must(strncmp(bson_iter_utf8(&each, NULL), "canary M", 8) == 0);
    }
    begin("distinct"), printf("%u", found), end();
}

static void change(mongoc_collection_t *people) {
    bson_t reply;
    must(mongoc_collection_update_one(
        people, doc("{\"nhs_number\": \"canary-1\"}"),
        doc("{\"$set\": {\"contacts.$[home].phone\": \"canary-03\", \"visits\": 4}, \"$push\": {\"tags\": \"new\"}}"),
        doc("{\"arrayFilters\": [{\"home.kind\": \"home\"}]}"), &reply, &error));
    begin("update"), show_counts(&reply), end();
    must(mongoc_collection_update_one(people, doc("{\"nhs_number\": \"canary-9\"}"), doc("{\"$set\": {\"ward\": \"new\"}}"),
                                      doc("{\"upsert\": true}"), &reply, &error));
    begin("upsert"), show_counts(&reply), end();
    begin("upserted");
    show_all(find(people, "{\"nhs_number\": \"canary-9\"}", "{\"projection\": {\"_id\": 0}}"), NULL), end();
    mongoc_find_and_modify_opts_t *options = mongoc_find_and_modify_opts_new();
    mongoc_find_and_modify_opts_set_update(options, doc("{\"$set\": {\"notes\": \"canary: none\"}, \"$unset\": {\"tags\": \"\"}}"));
    mongoc_find_and_modify_opts_set_flags(options, MONGOC_FIND_AND_MODIFY_RETURN_NEW);
    must(mongoc_collection_find_and_modify_with_opts(people, doc("{\"contacts.phone\": \"canary-03\"}"), options, &reply, &error));
    bson_iter_t value;
    const uint8_t *data;
    uint32_t length;
    must(bson_iter_init_find(&value, &reply, "value") && BSON_ITER_HOLDS_DOCUMENT(&value));
    bson_iter_document(&value, &length, &data);
    begin("find and modify"), show(bson_new_from_data(data, length)), end();
    must(mongoc_collection_delete_many(people, doc("{\"nhs_number\": \"canary-9\"}"), NULL, &reply, &error));
    begin("delete"), show_counts(&reply), end();
    bson_t *pipeline = doc(
        "{\"pipeline\": [{\"$match\": {\"address.postcode\": {\"$in\": [\"canary M41\", \"canary M1\"]}}},"
        " {\"$group\": {\"_id\": \"$address.postcode\", \"patients\": {\"$sum\": 1}, \"first\": {\"$min\": \"$_id\"}}},"
        " {\"$sort\": {\"first\": 1}}]}");
    begin("aggregate");
    show_all(mongoc_collection_aggregate(people, MONGOC_QUERY_NONE, pipeline, NULL, NULL), NULL), end();
}

static void many(mongoc_collection_t *people) {
    bson_t reply;
    mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(people, NULL);
    mongoc_bulk_operation_insert(bulk, doc("{\"_id\": 10, \"nhs_number\": \"canary-10\"}"));
    mongoc_bulk_operation_update_one(bulk, doc("{\"nhs_number\": \"canary-10\"}"), doc("{\"$set\": {\"visits\": 1}}"), false);
    mongoc_bulk_operation_update(bulk, doc("{\"visits\": {\"$in\": [1, 5]}}"), doc("{\"$set\": {\"visits\": 6}}"), false);
    mongoc_bulk_operation_replace_one(bulk, doc("{\"nhs_number\": \"canary-11\"}"),
                                      doc("{\"_id\": 11, \"nhs_number\": \"canary-11\"}"), true);
    mongoc_bulk_operation_remove_one(bulk, doc("{\"nhs_number\": \"canary-10\"}"));
    must(mongoc_bulk_operation_execute(bulk, &reply, &error));
    begin("bulk"), show_counts(&reply), end();
    bulk = mongoc_collection_create_bulk_operation_with_opts(people, NULL);
    for (int n = 1000; n < 1300; n++) {
        char number[20];
        snprintf(number, sizeof number, "canary-%d", n);
        mongoc_bulk_operation_insert(
            bulk, BCON_NEW("_id", BCON_INT32(n), "nhs_number", BCON_UTF8(number), "visits", BCON_INT32(n % 100)));
    }
    must(mongoc_bulk_operation_execute(bulk, &reply, &error));
    mongoc_cursor_t *cursor = find(people, "{\"_id\": {\"$gte\": 1000}}", "{\"sort\": {\"_id\": 1}, \"batchSize\": 40}");
    const bson_t *document;
    uint32_t read = 0, sum = 0;
    while (mongoc_cursor_next(cursor, &document)) {
        bson_iter_t number;
        must(bson_iter_init_find(&number, document, "nhs_number"));
        for (const char *each = bson_iter_utf8(&number, NULL); *each; each++) {
            sum = sum * 31 + (unsigned char) *each;
        }
        read++;
    }
    must(!mongoc_cursor_error(cursor, &error));
    begin("cursor"), printf("[%u, %u]", read, sum), end();
    cursor = find(people, "{}", "{\"batchSize\": 2}");
    must(mongoc_cursor_next(cursor, &document));
    begin("closed cursor"), printf(mongoc_cursor_get_id(cursor) != 0 ? "\"was open\"" : "false"), end();
    mongoc_cursor_destroy(cursor);
    must(mongoc_collection_delete_many(people, doc("{\"_id\": {\"$gte\": 1000}}"), NULL, &reply, &error));
    begin("deleted"), show_counts(&reply), end();
}

static void transactions(mongoc_client_t *client, mongoc_collection_t *people) {
    mongoc_client_session_t *session = mongoc_client_start_session(client, NULL, &error);
    must(session != NULL);
    bson_t within = BSON_INITIALIZER, reply;
    must(mongoc_client_session_append(session, &within, &error));
    const char *key = "{\"nhs_number\": \"canary-20\"}";
    must(mongoc_client_session_start_transaction(session, NULL, &error));
    must(mongoc_collection_insert_one(people, doc("{\"_id\": 20, \"nhs_number\": \"canary-20\"}"), &within, &reply, &error));
    int64_t inside = count(people, key, &within), outside = count(people, key, NULL);
    must(mongoc_client_session_commit_transaction(session, &reply, &error));
    must(mongoc_client_session_start_transaction(session, NULL, &error));
    must(mongoc_collection_update_one(people, doc(key), doc("{\"$set\": {\"ward\": \"x\"}}"), &within, &reply, &error));
    must(mongoc_client_session_abort_transaction(session, &error));
    mongoc_client_session_destroy(session);
    begin("transaction"), printf("[%lld, %lld, ", (long long) inside, (long long) outside);
    show_all(find(people, key, "{}"), NULL), printf("]"), end();
}

static void changes(mongoc_collection_t *people) {
    bson_t reply;
    mongoc_change_stream_t *stream = mongoc_collection_watch(
        people, doc("{\"pipeline\": []}"), doc("{\"fullDocument\": \"updateLookup\", \"maxAwaitTimeMS\": 3000}"));
    const char *key = "{\"nhs_number\": \"canary-30\"}";
    must(mongoc_collection_insert_one(people, doc("{\"_id\": 30, \"nhs_number\": \"canary-30\"}"), NULL, &reply, &error));
    must(mongoc_collection_update_one(people, doc(key), doc("{\"$set\": {\"notes\": \"canary: seen\"}}"), NULL, &reply, &error));
    must(mongoc_collection_delete_one(people, doc(key), NULL, &reply, &error));
    begin("changes");
    for (int number = 0; number < 3; number++) {
        const bson_t *event, *unused;
        while (!mongoc_change_stream_next(stream, &event)) {
            must(!mongoc_change_stream_error_document(stream, &error, &unused));
        }
        bson_t seen = BSON_INITIALIZER;
        bson_copy_to_excluding_noinit(event, &seen, "_id", "clusterTime", "wallTime", "ns", NULL);
        printf("%s", number ? ", " : "["), show(&seen);
    }
    printf("]"), end();
    mongoc_change_stream_destroy(stream);
}

static void files(mongoc_database_t *database) {
    enum { SIZE = 256 * 1200 };
    static uint8_t content[SIZE], read[SIZE + 1];
    for (int place = 0; place < SIZE; place++) {
        content[place] = (uint8_t) place;
    }
    mongoc_gridfs_bucket_t *bucket = mongoc_gridfs_bucket_new(database, doc("{\"chunkSizeBytes\": 65536}"), NULL, &error);
    must(bucket != NULL);
    bson_value_t id;
    mongoc_stream_t *stream = mongoc_gridfs_bucket_open_upload_stream(
        bucket, "scan.png", doc("{\"metadata\": {\"kind\": \"scan\"}}"), &id, &error);
    must(stream != NULL && mongoc_stream_write(stream, content, SIZE, 0) == SIZE);
    mongoc_stream_destroy(stream);
    stream = mongoc_gridfs_bucket_open_download_stream(bucket, &id, &error);
    must(stream != NULL);
    bool same = mongoc_stream_read(stream, read, SIZE, SIZE, 0) == SIZE && memcmp(read, content, SIZE) == 0;
    mongoc_stream_destroy(stream);
    begin("files"), printf("[%s, ", same ? "true" : "false");
    mongoc_cursor_t *cursor = mongoc_gridfs_bucket_find(bucket, doc("{\"metadata.kind\": \"scan\"}"), NULL);
    show_all(cursor, "length");
    must(mongoc_gridfs_bucket_delete_by_id(bucket, &id, &error));
    printf(", %lld]", (long long) count(mongoc_database_get_collection(database, "fs.chunks"), "{}", NULL)), end();
}

static void failures(mongoc_database_t *database, mongoc_collection_t *people) {
    bson_t reply;
    must(!mongoc_collection_insert_one(people, doc("{\"nhs_number\": \"canary-1\"}"), NULL, &reply, &error));
    begin("duplicate"), show_error(&reply, false), end();
    const bson_t *three[] = {doc("{\"_id\": 40, \"nhs_number\": \"canary-40\"}"), doc("{\"nhs_number\": \"canary-2\"}"),
                             doc("{\"_id\": 41}")};
    must(!mongoc_collection_insert_many(people, three, 3, doc("{\"ordered\": false}"), &reply, &error));
    bson_iter_t iter, found;
    must(bson_iter_init_find(&iter, &reply, "insertedCount"));
    begin("bulk errors"), printf("[%d, ", bson_iter_int32(&iter));
    must(bson_iter_init(&iter, &reply) && bson_iter_find_descendant(&iter, "writeErrors.0.index", &found));
    printf("%d, %u]", bson_iter_int32(&found), error.code), end();
    mongoc_collection_t *wards = mongoc_database_create_collection(
        database, "wards", doc("{\"validator\": {\"$jsonSchema\": {\"required\": [\"name\"]}}}"), &error);
    must(wards != NULL);
    must(!mongoc_collection_insert_one(wards, doc("{\"beds\": 12}"), NULL, &reply, &error));
    begin("validation"), show_error(&reply, false), end();
    must(!mongoc_database_command_with_opts(database, doc("{\"noSuchCommand\": 1}"), NULL, NULL, &reply, &error));
    begin("unknown command"), show_error(&reply, true), end();
    begin("prefix");
    int64_t matched = mongoc_collection_count_documents(people, doc("{\"nhs_number\": {\"$regex\": \"^canary-2\"}}"), NULL,
                                                        NULL, &reply, &error);
    if (matched < 0) {
        show_error(&reply, true);
    } else {
        printf("%lld", (long long) matched);
    }
    end();
}

int main(int argc, char **argv) {
    must(argc == 2);
    mongoc_init();
    mongoc_uri_t *uri = mongoc_uri_new_with_error(argv[1], &error);
    must(uri != NULL);
    mongoc_client_t *client = mongoc_client_new_from_uri_with_error(uri, &error);
    must(client != NULL);
    mongoc_client_set_error_api(client, MONGOC_ERROR_API_VERSION_2);
    mongoc_database_t *database = mongoc_client_get_database(client, mongoc_uri_get_database(uri));
    must(mongoc_database_drop(database, &error));
    printf("{\"client\": \"C driver\", \"version\": \"%s\"}\n", mongoc_get_version());
    mongoc_collection_t *people = mongoc_database_get_collection(database, "patients");
    read_and_write(people);
    change(people);
    many(people);
    transactions(client, people);
    changes(people);
    files(database);
    failures(database, people);
    mongoc_client_destroy(client);
    mongoc_cleanup();
    return 0;
}
