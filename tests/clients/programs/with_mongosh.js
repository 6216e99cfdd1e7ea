// mongosh, as a person types in it.
const say = (step, seen) => print(EJSON.stringify({ step, seen: seen ?? null }, { relaxed: true }));
const failure = (error) => ({ code: error.code, keyValue: error.keyValue ?? null, message: error.message });
const patient = (number) => ({
  _id: number,
  nhs_number: `canary-${number}`,
  surname: ['Smith canary', 'smithson canary', 'Jones canary'][number % 3],
  address: { postcode: `canary M${number % 2}` },
  contacts: [{ kind: 'home', phone: `canary-0${number}` }],
  visits: number % 100,
  notes: { text: `canary: ${number}` },
});
const range = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);

print(JSON.stringify({ client: 'mongosh', version: version() }));
db.dropDatabase();

db.patients.createIndex({ nhs_number: 1 }, { unique: true });
say('insert', db.patients.insertMany(range(0, 6).map(patient)).insertedIds);
say('find', db.patients.findOne({ nhs_number: 'canary-3' }));
say('queries', db.patients.find({ 'contacts.phone': { $in: ['canary-01', 'canary-02'] } }).sort({ _id: 1 }).toArray());
say('range', db.patients.find({ visits: { $gte: 2, $lt: 5 } }).sort({ _id: 1 }).map((each) => each._id).toArray());
say('count', [db.patients.countDocuments({ visits: 3 }), db.patients.estimatedDocumentCount()]);
say('find by surname', db.patients.find({ surname: /^smi/i }).sort({ _id: 1 }).map((each) => each._id).toArray());
say('sort by surname', db.patients.find().sort({ surname: 1, _id: 1 }).limit(3).toArray());
say('distinct', db.patients.distinct('address.postcode').sort());
const updated = db.patients.updateOne({ nhs_number: 'canary-4' }, { $set: { 'contacts.0.phone': 'canary-99' } });
say('update', [updated.matchedCount, updated.modifiedCount]);
say('find and modify', db.patients.findOneAndUpdate(
  { 'contacts.phone': 'canary-99' }, { $set: { notes: 'canary: changed' } }, { returnDocument: 'after' },
));
say('aggregate', db.patients.aggregate([
  { $group: { _id: '$address.postcode', patients: { $sum: 1 }, first: { $min: '$_id' } } },
  { $sort: { first: 1 } },
]).toArray());
say('indexes', db.patients.getIndexes().map((each) => [each.name, each.unique ?? false]));

const bulk = db.patients.initializeOrderedBulkOp();
bulk.insert({ _id: 50, nhs_number: 'canary-50' });
bulk.find({ nhs_number: 'canary-50' }).updateOne({ $set: { visits: 1 } });
bulk.find({ nhs_number: 'canary-50' }).deleteOne();
const { insertedCount, modifiedCount, deletedCount } = bulk.execute();
say('bulk', [insertedCount, modifiedCount, deletedCount]);
db.patients.insertMany(range(1000, 1200).map(patient));
const read = db.patients.find({ _id: { $gte: 1000 } }).sort({ _id: 1 }).batchSize(30).toArray();
say('cursor', [read.length, read[0].nhs_number, read.at(-1).nhs_number]);
say('deleted', db.patients.deleteMany({ _id: { $gte: 1000 } }).deletedCount);

const session = db.getMongo().startSession();
const inSession = session.getDatabase(db.getName()).patients;
session.startTransaction();
inSession.insertOne(patient(20));
const inside = inSession.countDocuments({ nhs_number: 'canary-20' });
session.commitTransaction();
session.startTransaction();
inSession.deleteOne({ nhs_number: 'canary-20' });
session.abortTransaction();
session.endSession();
say('transaction', [inside, db.patients.findOne({ nhs_number: 'canary-20' })]);

const stream = db.patients.watch([], { maxAwaitTimeMS: 200 });
stream.disableBlockWarnings();
stream.tryNext();
db.patients.insertOne({ _id: 30, nhs_number: 'canary-30' });
const event = stream.next();
stream.close();
say('changes', [event.operationType, event.fullDocument]);

try {
  db.patients.insertOne({ nhs_number: 'canary-1' });
} catch (error) {
  say('duplicate', { ...failure(error), message: '' });
}
db.createCollection('wards', { validator: { $jsonSchema: { required: ['name'] } } });
try {
  db.wards.insertOne({ beds: 12 });
} catch (error) {
  say('validation', { ...failure(error), message: '' });
}
try {
  say('prefix', db.patients.countDocuments({ nhs_number: /^canary-2/ }));
} catch (error) {
  say('prefix', failure(error));
}
