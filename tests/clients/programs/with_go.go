// The official Go driver, as Debian packages it.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"sort"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
	"go.mongodb.org/mongo-driver/mongo"
	"go.mongodb.org/mongo-driver/mongo/gridfs"
	"go.mongodb.org/mongo-driver/mongo/options"
	"go.mongodb.org/mongo-driver/version"
	"go.mongodb.org/mongo-driver/x/mongo/driver/connstring"
)

var ctx = context.Background()

var patients = []any{
	doc(`{"_id": 1, "nhs_number": "canary-1", "surname": "Smith canary",
	      "address": {"line1": "1 High Street", "postcode": "canary M41"},
	      "contacts": [{"kind": "home", "phone": "canary-01"}, {"kind": "work", "phone": "canary-02"}],
	      "visits": 3, "notes": {"text": "canary: penicillin", "flags": [true, 2.5, null]}, "ward": "renal"}`),
	doc(`{"_id": 2, "nhs_number": "canary-2", "surname": "smithson canary",
	      "address": {"postcode": "canary M41"}, "visits": 5, "ward": "renal"}`),
	doc(`{"_id": 3, "nhs_number": "canary-3", "surname": "Jones canary",
	      "address": {"postcode": "canary M1"}, "visits": 3, "ward": "a+e"}`),
}

func doc(text string) bson.D {
	var made bson.D
	must(bson.UnmarshalExtJSON([]byte(text), false, &made))
	return made
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func have[T any](value T, err error) T {
	must(err)
	return value
}

func say(step string, seen any) {
	line := have(bson.MarshalExtJSON(bson.D{{Key: "step", Value: step}, {Key: "seen", Value: seen}}, false, false))
	fmt.Println(string(line))
}

func all(cursor *mongo.Cursor, err error) []bson.D {
	must(err)
	found := []bson.D{}
	must(cursor.All(ctx, &found))
	return found
}

func one(found *mongo.SingleResult) bson.D {
	var document bson.D
	must(found.Decode(&document))
	return document
}

// What a program sees of a server's error.
func failure(err error, text bool) bson.D {
	var command mongo.CommandError
	var write mongo.WriteException
	switch {
	case errors.As(err, &command):
		seen := bson.D{{Key: "code", Value: command.Code}, {Key: "name", Value: command.Name},
			{Key: "labels", Value: append([]string{}, command.Labels...)}}
		if text {
			seen = append(seen, bson.E{Key: "message", Value: command.Message})
		}
		return seen
	case errors.As(err, &write):
		first := write.WriteErrors[0]
		seen := bson.D{{Key: "code", Value: first.Code}, {Key: "index", Value: first.Index}}
		if key, err := first.Raw.LookupErr("keyValue"); err == nil {
			seen = append(seen, bson.E{Key: "keyValue", Value: key})
		}
		return seen
	}
	must(err)
	return nil
}

func main() {
	uri := os.Args[1]
	name := have(connstring.ParseAndValidate(uri)).Database
	client := have(mongo.Connect(ctx, options.Client().ApplyURI(uri)))
	defer func() { must(client.Disconnect(ctx)) }()
	database := client.Database(name)
	must(database.Drop(ctx))
	fmt.Printf("{\"client\": \"Go driver\", \"version\": %q}\n", version.Driver)
	readAndWrite(database.Collection("patients"))
	change(database.Collection("patients"))
	many(database.Collection("patients"))
	transactions(client, database.Collection("patients"))
	changes(database.Collection("patients"))
	files(database)
	failures(database)
}

func readAndWrite(people *mongo.Collection) {
	index := mongo.IndexModel{Keys: doc(`{"nhs_number": 1}`), Options: options.Index().SetUnique(true)}
	have(people.Indexes().CreateOne(ctx, index))
	say("insert", have(people.InsertMany(ctx, patients)).InsertedIDs)
	say("find", one(people.FindOne(ctx, doc(`{"nhs_number": "canary-1"}`))))
	byID := options.Find().SetSort(doc(`{"_id": 1}`))
	queries := [][]any{}
	for _, query := range []string{
		`{"nhs_number": {"$in": ["canary-2", "canary-3", "canary-4"]}}`,
		`{"contacts.phone": "canary-02"}`,
		`{"contacts": {"$elemMatch": {"kind": "home", "phone": "canary-01"}}}`,
		`{"address.postcode": "canary M41", "ward": "renal"}`,
		`{"visits": {"$gte": 2, "$lt": 5}}`,
		`{"notes": {"$exists": false}}`,
		`{"$or": [{"nhs_number": "canary-1"}, {"visits": 5}]}`,
	} {
		ids := []any{}
		for _, each := range all(people.Find(ctx, doc(query), byID)) {
			ids = append(ids, each.Map()["_id"])
		}
		queries = append(queries, ids)
	}
	say("queries", queries)
	smiths := bson.D{{Key: "surname", Value: primitive.Regex{Pattern: "^smi", Options: "i"}}}
	say("find by surname", all(people.Find(ctx, smiths, byID)))
	page := options.Find().SetSort(doc(`{"surname": 1}`)).SetLimit(2)
	say("sort by surname", all(people.Find(ctx, bson.D{}, page)))
	counted := have(people.CountDocuments(ctx, doc(`{"visits": 3}`)))
	say("count", []int64{counted, have(people.EstimatedDocumentCount(ctx))})
	fields := options.Find().SetSort(doc(`{"_id": 1}`)).SetProjection(doc(`{"nhs_number": 1, "contacts.phone": 1}`))
	say("projection", all(people.Find(ctx, bson.D{}, fields)))
	codes := []string{}
	for _, code := range have(people.Distinct(ctx, "address.postcode", bson.D{})) {
		codes = append(codes, code.(string))
	}
	sort.Strings(codes)
	say("distinct", codes)
}

func change(people *mongo.Collection) {
	filters := options.ArrayFilters{Filters: []any{doc(`{"home.kind": "home"}`)}}
	update := doc(`{"$set": {"contacts.$[home].phone": "canary-03", "visits": 4}, "$push": {"tags": "new"}}`)
	result := have(people.UpdateOne(ctx, doc(`{"nhs_number": "canary-1"}`), update,
		options.Update().SetArrayFilters(filters)))
	say("update", []int64{result.MatchedCount, result.ModifiedCount})
	result = have(people.UpdateOne(ctx, doc(`{"nhs_number": "canary-9"}`), doc(`{"$set": {"ward": "new"}}`),
		options.Update().SetUpsert(true)))
	say("upsert", []any{result.MatchedCount, result.UpsertedID != nil})
	withoutID := options.FindOne().SetProjection(doc(`{"_id": 0}`))
	say("upserted", one(people.FindOne(ctx, doc(`{"nhs_number": "canary-9"}`), withoutID)))
	say("find and modify", one(people.FindOneAndUpdate(ctx, doc(`{"contacts.phone": "canary-03"}`),
		doc(`{"$set": {"notes": "canary: none"}, "$unset": {"tags": ""}}`),
		options.FindOneAndUpdate().SetReturnDocument(options.After))))
	say("delete", have(people.DeleteMany(ctx, doc(`{"nhs_number": "canary-9"}`))).DeletedCount)
	say("aggregate", all(people.Aggregate(ctx, bson.A{
		doc(`{"$match": {"address.postcode": {"$in": ["canary M41", "canary M1"]}}}`),
		doc(`{"$group": {"_id": "$address.postcode", "patients": {"$sum": 1}, "first": {"$min": "$_id"}}}`),
		doc(`{"$sort": {"first": 1}}`),
	})))
}

func many(people *mongo.Collection) {
	result := have(people.BulkWrite(ctx, []mongo.WriteModel{
		mongo.NewInsertOneModel().SetDocument(doc(`{"_id": 10, "nhs_number": "canary-10"}`)),
		mongo.NewUpdateOneModel().SetFilter(doc(`{"nhs_number": "canary-10"}`)).SetUpdate(doc(`{"$set": {"visits": 1}}`)),
		mongo.NewUpdateManyModel().SetFilter(doc(`{"visits": {"$in": [1, 5]}}`)).SetUpdate(doc(`{"$set": {"visits": 6}}`)),
		mongo.NewReplaceOneModel().SetFilter(doc(`{"nhs_number": "canary-11"}`)).
			SetReplacement(doc(`{"_id": 11, "nhs_number": "canary-11"}`)).SetUpsert(true),
		mongo.NewDeleteOneModel().SetFilter(doc(`{"nhs_number": "canary-10"}`)),
	}))
	say("bulk", []any{result.InsertedCount, result.MatchedCount, result.ModifiedCount, result.UpsertedCount,
		result.DeletedCount, result.UpsertedIDs[3]})
	made := []any{}
	for n := int32(1000); n < 1300; n++ {
		made = append(made, bson.D{{Key: "_id", Value: n}, {Key: "nhs_number", Value: fmt.Sprintf("canary-%d", n)},
			{Key: "visits", Value: n % 100}})
	}
	have(people.InsertMany(ctx, made))
	batches := options.Find().SetSort(doc(`{"_id": 1}`)).SetBatchSize(40)
	read, digest := 0, sha256.New()
	cursor := have(people.Find(ctx, doc(`{"_id": {"$gte": 1000}}`), batches))
	for cursor.Next(ctx) {
		digest.Write([]byte(cursor.Current.Lookup("nhs_number").StringValue()))
		read++
	}
	must(cursor.Err())
	say("cursor", []any{read, fmt.Sprintf("%x", digest.Sum(nil))})
	cursor = have(people.Find(ctx, bson.D{}, options.Find().SetBatchSize(2)))
	cursor.Next(ctx)
	must(cursor.Close(ctx))
	say("closed cursor", cursor.ID() != 0)
	say("deleted", have(people.DeleteMany(ctx, doc(`{"_id": {"$gte": 1000}}`))).DeletedCount)
}

func transactions(client *mongo.Client, people *mongo.Collection) {
	session := have(client.StartSession())
	defer session.EndSession(ctx)
	key := doc(`{"nhs_number": "canary-20"}`)
	var inside, outside int64
	have(session.WithTransaction(ctx, func(within mongo.SessionContext) (any, error) {
		have(people.InsertOne(within, doc(`{"_id": 20, "nhs_number": "canary-20"}`)))
		inside = have(people.CountDocuments(within, key))
		outside = have(people.CountDocuments(ctx, key))
		return nil, nil
	}))
	must(session.StartTransaction())
	within := mongo.NewSessionContext(ctx, session)
	have(people.UpdateOne(within, key, doc(`{"$set": {"ward": "x"}}`)))
	must(session.AbortTransaction(ctx))
	say("transaction", []any{inside, outside, one(people.FindOne(ctx, key))})
}

func changes(people *mongo.Collection) {
	stream := have(people.Watch(ctx, mongo.Pipeline{},
		options.ChangeStream().SetFullDocument(options.UpdateLookup).SetMaxAwaitTime(3*time.Second)))
	key := doc(`{"nhs_number": "canary-30"}`)
	have(people.InsertOne(ctx, doc(`{"_id": 30, "nhs_number": "canary-30"}`)))
	have(people.UpdateOne(ctx, key, doc(`{"$set": {"notes": "canary: seen"}}`)))
	have(people.DeleteOne(ctx, key))
	events := []bson.M{}
	for len(events) < 3 && stream.Next(ctx) {
		var event bson.M
		must(stream.Decode(&event))
		events = append(events, bson.M{"operationType": event["operationType"], "documentKey": event["documentKey"],
			"fullDocument": event["fullDocument"], "updateDescription": event["updateDescription"]})
	}
	must(stream.Err())
	must(stream.Close(ctx))
	say("changes", events)
}

func files(database *mongo.Database) {
	bucket := have(gridfs.NewBucket(database, options.GridFSBucket().SetChunkSizeBytes(64*1024)))
	content := make([]byte, 256*1200)
	for place := range content {
		content[place] = byte(place)
	}
	id := have(bucket.UploadFromStream("scan.png", bytes.NewReader(content),
		options.GridFSUpload().SetMetadata(doc(`{"kind": "scan"}`))))
	var read bytes.Buffer
	have(bucket.DownloadToStreamByName("scan.png", &read))
	names := []bson.D{}
	for _, file := range all(bucket.Find(doc(`{"metadata.kind": "scan"}`))) {
		fields := file.Map()
		names = append(names, bson.D{{Key: "name", Value: fields["filename"]}, {Key: "length", Value: fields["length"]},
			{Key: "metadata", Value: fields["metadata"]}})
	}
	must(bucket.Delete(id))
	left := have(database.Collection("fs.chunks").CountDocuments(ctx, bson.D{}))
	say("files", []any{bytes.Equal(read.Bytes(), content), names, left})
}

func failures(database *mongo.Database) {
	people := database.Collection("patients")
	_, err := people.InsertOne(ctx, doc(`{"nhs_number": "canary-1"}`))
	say("duplicate", failure(err, false))
	_, err = people.InsertMany(ctx, []any{doc(`{"_id": 40, "nhs_number": "canary-40"}`),
		doc(`{"nhs_number": "canary-2"}`), doc(`{"_id": 41}`)}, options.InsertMany().SetOrdered(false))
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) {
		must(fmt.Errorf("no error of a bulk write: %w", err))
	}
	found := [][]int{}
	for _, each := range bulk.WriteErrors {
		found = append(found, []int{each.Index, each.Code})
	}
	say("bulk errors", found)
	validator := options.CreateCollection().SetValidator(doc(`{"$jsonSchema": {"required": ["name"]}}`))
	must(database.CreateCollection(ctx, "wards", validator))
	_, err = database.Collection("wards").InsertOne(ctx, doc(`{"beds": 12}`))
	say("validation", failure(err, false))
	say("unknown command", failure(database.RunCommand(ctx, doc(`{"noSuchCommand": 1}`)).Err(), true))
	prefix := bson.D{{Key: "nhs_number", Value: bson.D{{Key: "$regex", Value: "^canary-2"}}}}
	count, err := people.CountDocuments(ctx, prefix)
	if err != nil {
		say("prefix", failure(err, true))
	} else {
		say("prefix", count)
	}
}
