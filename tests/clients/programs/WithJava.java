import com.mongodb.MongoBulkWriteException;
import com.mongodb.MongoClient;
import com.mongodb.MongoClientURI;
import com.mongodb.MongoCommandException;
import com.mongodb.MongoWriteException;
import com.mongodb.bulk.BulkWriteResult;
import com.mongodb.client.ChangeStreamIterable;
import com.mongodb.client.MongoCollection;
import com.mongodb.client.MongoCursor;
import com.mongodb.client.MongoDatabase;
import com.mongodb.client.MongoIterable;
import com.mongodb.client.gridfs.GridFSBucket;
import com.mongodb.client.gridfs.GridFSBuckets;
import com.mongodb.client.gridfs.model.GridFSUploadOptions;
import com.mongodb.client.model.*;
import com.mongodb.client.model.changestream.ChangeStreamDocument;
import com.mongodb.client.model.changestream.FullDocument;
import com.mongodb.client.result.UpdateResult;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.bson.Document;
import org.bson.json.JsonMode;
import org.bson.json.JsonWriterSettings;
import org.bson.types.ObjectId;

/** The official Java driver (3.6), as Debian packages it. It knows no transactions. Its own findAndModify
 * is spelt in lower case, which mongod takes and the tests' server does not: so this program sends the command itself. */
public final class WithJava {
    private static final List<Document> PATIENTS = docs(
        "{'_id': 1, 'nhs_number': 'canary-1', 'surname': 'Smith canary',"
            + " 'address': {'line1': '1 High Street', 'postcode': 'canary M41'},"
            + " 'contacts': [{'kind': 'home', 'phone': 'canary-01'}, {'kind': 'work', 'phone': 'canary-02'}],"
            + " 'visits': 3, 'notes': {'text': 'canary: penicillin', 'flags': [true, 2.5, null]}, 'ward': 'renal'}",
        "{'_id': 2, 'nhs_number': 'canary-2', 'surname': 'smithson canary',"
            + " 'address': {'postcode': 'canary M41'}, 'visits': 5, 'ward': 'renal'}",
        "{'_id': 3, 'nhs_number': 'canary-3', 'surname': 'Jones canary',"
            + " 'address': {'postcode': 'canary M1'}, 'visits': 3, 'ward': 'a+e'}");
    private static final List<Document> QUERIES = docs(
        "{'nhs_number': {'$in': ['canary-2', 'canary-3', 'canary-4']}}",
        "{'contacts.phone': 'canary-02'}",
        "{'contacts': {'$elemMatch': {'kind': 'home', 'phone': 'canary-01'}}}",
        "{'address.postcode': 'canary M41', 'ward': 'renal'}",
        "{'visits': {'$gte': 2, '$lt': 5}}",
        "{'notes': {'$exists': false}}",
        "{'$or': [{'nhs_number': 'canary-1'}, {'visits': 5}]}");
    private static final Document BY_ID = doc("{'_id': 1}");

    private final MongoDatabase database;
    private final MongoCollection<Document> people;

    private WithJava(MongoDatabase database) {
        this.database = database;
        this.people = database.getCollection("patients");
    }

    public static void main(String[] arguments) {
        Logger.getLogger("org.mongodb").setLevel(Level.SEVERE);
        MongoClientURI uri = new MongoClientURI(arguments[0]);
        try (MongoClient client = new MongoClient(uri)) {
            MongoDatabase database = client.getDatabase(uri.getDatabase());
            database.drop();
            System.out.println("{\"client\": \"Java driver\", \"version\": \"" + version() + "\"}");
            WithJava program = new WithJava(database);
            program.readAndWrite();
            program.change();
            program.many();
            program.changes();
            program.files();
            program.failures();
        }
    }

    /** Its package says which version it is; the driver itself does not. */
    private static String version() {
        try {
            return java.nio.file.Paths.get("/usr/share/java/mongo-java-driver.jar").toRealPath().getFileName().toString()
                .replaceAll("[^0-9.]", "").replaceAll("\\.$", "");
        } catch (java.io.IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
    }

    private static Document doc(String text) {
        return Document.parse(text);
    }

    private static List<Document> docs(String... texts) {
        List<Document> made = new ArrayList<>();
        for (String text : texts) {
            made.add(doc(text));
        }
        return made;
    }

    private static <T> List<T> all(MongoIterable<T> found) {
        return found.into(new ArrayList<>());
    }

    private static void say(String step, Object seen) {
        JsonWriterSettings relaxed = JsonWriterSettings.builder().outputMode(JsonMode.RELAXED).build();
        System.out.println(new Document("step", step).append("seen", seen).toJson(relaxed));
    }

    private void readAndWrite() {
        people.createIndex(doc("{'nhs_number': 1}"), new IndexOptions().unique(true));
        people.insertMany(PATIENTS);
        say("insert", PATIENTS.size());
        say("find", people.find(doc("{'nhs_number': 'canary-1'}")).first());
        List<Object> ids = new ArrayList<>();
        for (Document query : QUERIES) {
            ids.add(all(people.find(query).sort(BY_ID).map(found -> found.get("_id"))));
        }
        say("queries", ids);
        say("find by surname", all(people.find(Filters.regex("surname", "^smi", "i")).sort(BY_ID)));
        say("sort by surname", all(people.find().sort(Sorts.ascending("surname")).limit(2)));
        say("count", Arrays.asList(people.count(doc("{'visits': 3}")), people.count()));
        say("projection", all(people.find().sort(BY_ID).projection(doc("{'nhs_number': 1, 'contacts.phone': 1}"))));
        List<String> codes = all(people.distinct("address.postcode", String.class));
        Collections.sort(codes);
        say("distinct", codes);
    }

    private void change() {
        UpdateResult result = people.updateOne(doc("{'nhs_number': 'canary-1'}"),
            doc("{'$set': {'contacts.$[home].phone': 'canary-03', 'visits': 4}, '$push': {'tags': 'new'}}"),
            new UpdateOptions().arrayFilters(docs("{'home.kind': 'home'}")));
        say("update", Arrays.asList(result.getMatchedCount(), result.getModifiedCount()));
        Document added = doc("{'nhs_number': 'canary-9'}");
        result = people.updateOne(added, doc("{'$set': {'ward': 'new'}}"), new UpdateOptions().upsert(true));
        say("upsert", Arrays.asList(result.getMatchedCount(), result.getUpsertedId() != null));
        say("upserted", people.find(added).projection(doc("{'_id': 0}")).first());
        say("find and modify", database.runCommand(doc("{'findAndModify': 'patients', 'new': true,"
            + " 'query': {'contacts.phone': 'canary-03'},"
            + " 'update': {'$set': {'notes': 'canary: none'}, '$unset': {'tags': ''}}}")).get("value"));
        say("delete", people.deleteMany(added).getDeletedCount());
        say("aggregate", all(people.aggregate(docs(
            "{'$match': {'address.postcode': {'$in': ['canary M41', 'canary M1']}}}",
            "{'$group': {'_id': '$address.postcode', 'patients': {'$sum': 1}, 'first': {'$min': '$_id'}}}",
            "{'$sort': {'first': 1}}"))));
    }

    private void many() {
        BulkWriteResult result = people.bulkWrite(Arrays.asList(
            new InsertOneModel<>(doc("{'_id': 10, 'nhs_number': 'canary-10'}")),
            new UpdateOneModel<>(doc("{'nhs_number': 'canary-10'}"), doc("{'$set': {'visits': 1}}")),
            new UpdateManyModel<>(doc("{'visits': {'$in': [1, 5]}}"), doc("{'$set': {'visits': 6}}")),
            new ReplaceOneModel<>(doc("{'nhs_number': 'canary-11'}"), doc("{'_id': 11, 'nhs_number': 'canary-11'}"),
                new UpdateOptions().upsert(true)),
            new DeleteOneModel<>(doc("{'nhs_number': 'canary-10'}"))));
        say("bulk", Arrays.asList(result.getInsertedCount(), result.getMatchedCount(), result.getModifiedCount(),
            result.getUpserts().size(), result.getDeletedCount()));
        List<Document> made = new ArrayList<>();
        for (int n = 1000; n < 1300; n++) {
            made.add(new Document("_id", n).append("nhs_number", "canary-" + n).append("visits", n % 100));
        }
        people.insertMany(made);
        Document theirs = doc("{'_id': {'$gte': 1000}}");
        List<String> read = all(people.find(theirs).sort(BY_ID).batchSize(40).map(each -> each.getString("nhs_number")));
        say("cursor", Arrays.asList(read.size(), String.join("", read).hashCode()));
        MongoCursor<Document> cursor = people.find().batchSize(2).iterator();
        cursor.next();
        boolean open = cursor.getServerCursor() != null;
        cursor.close();
        say("closed cursor", open ? "was open" : false);
        say("deleted", people.deleteMany(theirs).getDeletedCount());
    }

    private void changes() {
        ChangeStreamIterable<Document> watched = people.watch().fullDocument(FullDocument.UPDATE_LOOKUP);
        MongoCursor<ChangeStreamDocument<Document>> stream = watched.maxAwaitTime(3, TimeUnit.SECONDS).iterator();
        Document key = doc("{'nhs_number': 'canary-30'}");
        people.insertOne(doc("{'_id': 30, 'nhs_number': 'canary-30'}"));
        people.updateOne(key, doc("{'$set': {'notes': 'canary: seen'}}"));
        people.deleteOne(key);
        List<Document> events = new ArrayList<>();
        while (events.size() < 3) {
            ChangeStreamDocument<Document> event = stream.next();
            Document seen = new Document("operationType", event.getOperationType().getValue())
                .append("documentKey", event.getDocumentKey()).append("fullDocument", event.getFullDocument());
            if (event.getUpdateDescription() != null) {
                seen.append("updatedFields", event.getUpdateDescription().getUpdatedFields());
            }
            events.add(seen);
        }
        stream.close();
        say("changes", events);
    }

    private void files() {
        GridFSBucket bucket = GridFSBuckets.create(database);
        byte[] content = new byte[256 * 1200];
        for (int place = 0; place < content.length; place++) {
            content[place] = (byte) place;
        }
        GridFSUploadOptions options = new GridFSUploadOptions().chunkSizeBytes(64 * 1024).metadata(doc("{'kind': 'scan'}"));
        ObjectId id = bucket.uploadFromStream("scan.png", new ByteArrayInputStream(content), options);
        ByteArrayOutputStream read = new ByteArrayOutputStream();
        bucket.downloadToStream("scan.png", read);
        List<Document> names = all(bucket.find(doc("{'metadata.kind': 'scan'}")).map(file ->
            new Document("name", file.getFilename()).append("length", file.getLength()).append("metadata", file.getMetadata())));
        bucket.delete(id);
        long left = database.getCollection("fs.chunks").count();
        say("files", Arrays.asList(Arrays.equals(read.toByteArray(), content), names, left));
    }

    private void failures() {
        try {
            people.insertOne(doc("{'nhs_number': 'canary-1'}"));
        } catch (MongoWriteException error) {
            say("duplicate", Arrays.asList(error.getCode(), error.getError().getCategory().name()));
        }
        try {
            people.insertMany(docs("{'_id': 40, 'nhs_number': 'canary-40'}", "{'nhs_number': 'canary-2'}", "{'_id': 41}"),
                new InsertManyOptions().ordered(false));
        } catch (MongoBulkWriteException error) {
            List<Object> found = new ArrayList<>();
            error.getWriteErrors().forEach(each -> found.add(Arrays.asList(each.getIndex(), each.getCode())));
            say("bulk errors", Arrays.asList(error.getWriteResult().getInsertedCount(), found));
        }
        Document validator = doc("{'$jsonSchema': {'required': ['name']}}");
        database.createCollection("wards", new CreateCollectionOptions()
            .validationOptions(new ValidationOptions().validator(validator)));
        try {
            database.getCollection("wards").insertOne(doc("{'beds': 12}"));
        } catch (MongoWriteException error) {
            say("validation", error.getCode());
        }
        try {
            say("unknown command", database.runCommand(doc("{'noSuchCommand': 1}")));
        } catch (MongoCommandException error) {
            say("unknown command", Arrays.asList(error.getErrorCode(), error.getErrorMessage()));
        }
        try {
            say("prefix", people.count(new Document("nhs_number", new Document("$regex", "^canary-2"))));
        } catch (MongoCommandException error) {
            say("prefix", Arrays.asList(error.getErrorCode(), error.getErrorMessage()));
        }
    }
}
