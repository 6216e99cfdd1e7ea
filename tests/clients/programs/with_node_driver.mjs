// The official driver of Node.js.
import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';

import { failure, head, say } from './lines.mjs';

// the packages lie in tests/node, not beside this file
const fromTests = createRequire(new URL('../../node/package.json', import.meta.url));
const { MongoClient, GridFSBucket } = fromTests('mongodb');

const patient = (number) => ({
  _id: number,
  nhs_number: `canary-${number}`,
  surname: ['Smith canary', 'smithson canary', 'Jones canary'][number % 3],
  address: { line1: '1 High Street', postcode: `canary M${number % 2}` },
  contacts: [{ kind: 'home', phone: `canary-0${number}` }],
  visits: number % 100,
  notes: { text: `canary: ${number}`, flags: [true, 2.5, null] },
  ward: 'renal',
});
const range = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);

async function readAndWrite(patients) {
  await patients.createIndex({ nhs_number: 1 }, { unique: true });
  say('insert', (await patients.insertMany(range(0, 6).map(patient))).insertedIds);
  say('find', await patients.findOne({ nhs_number: 'canary-3' }));
  const queries = [
    { nhs_number: { $in: ['canary-1', 'canary-2', 'canary-9'] } },
    { 'contacts.phone': 'canary-04' },
    { contacts: { $elemMatch: { kind: 'home', phone: 'canary-05' } } },
    { visits: { $gte: 2, $lt: 5 } },
    { $or: [{ 'address.postcode': 'canary M1' }, { notes: { $exists: false } }] },
  ];
  const found = [];
  for (const query of queries) {
    found.push(await patients.find(query).sort({ _id: 1 }).map((each) => each._id).toArray());
  }
  say('queries', found);
  const smiths = patients.find({ surname: /^smi/i }).sort({ _id: 1 });
  say('find by surname', await smiths.map((each) => each._id).toArray());
  say('sort by surname', await patients.find().sort({ surname: 1, _id: 1 }).limit(3).toArray());
  say('count', [await patients.countDocuments({ visits: 3 }), await patients.estimatedDocumentCount()]);
  say('projection', await patients.find({}, { projection: { nhs_number: 1, 'contacts.phone': 1 }, sort: { _id: 1 } }).toArray());
  say('distinct', (await patients.distinct('address.postcode')).sort());
  const updated = await patients.updateOne(
    { nhs_number: 'canary-1' },
    { $set: { 'contacts.$[home].phone': 'canary-99', visits: 4 } },
    { arrayFilters: [{ 'home.kind': 'home' }] },
  );
  say('update', [updated.matchedCount, updated.modifiedCount]);
  say('find and modify', await patients.findOneAndUpdate(
    { 'contacts.phone': 'canary-99' }, { $unset: { notes: '' } }, { returnDocument: 'after' },
  ));
  say('replace', (await patients.replaceOne({ nhs_number: 'canary-0' }, { nhs_number: 'canary-0' })).modifiedCount);
  const pipeline = [
    { $match: { 'address.postcode': { $ne: null } } },
    { $group: { _id: '$address.postcode', patients: { $sum: 1 }, first: { $min: '$_id' } } },
    { $sort: { first: 1 } },
  ];
  say('aggregate', await patients.aggregate(pipeline).toArray());
}

async function many(patients) {
  const result = await patients.bulkWrite([
    { insertOne: { document: { _id: 50, nhs_number: 'canary-50' } } },
    { updateOne: { filter: { nhs_number: 'canary-50' }, update: { $set: { visits: 1 } } } },
    { updateOne: { filter: { nhs_number: 'canary-51' }, update: { $set: { _id: 51 } }, upsert: true } },
    { deleteOne: { filter: { nhs_number: 'canary-50' } } },
  ]);
  say('bulk', [result.insertedCount, result.modifiedCount, result.upsertedCount, result.deletedCount]);
  await patients.insertMany(range(1000, 1300).map(patient));
  const read = [];
  for await (const each of patients.find({ _id: { $gte: 1000 } }, { batchSize: 40, sort: { _id: 1 } })) {
    read.push(each.nhs_number);
  }
  say('cursor', [read.length, createHash('sha256').update(read.join()).digest('hex')]);
  say('deleted', (await patients.deleteMany({ _id: { $gte: 1000 } })).deletedCount);
}

async function transactions(client, patients) {
  let inside;
  await client.withSession(async (session) => {
    await session.withTransaction(async () => {
      await patients.insertOne({ _id: 20, nhs_number: 'canary-20' }, { session });
      inside = await patients.countDocuments({ nhs_number: 'canary-20' }, { session });
    });
    session.startTransaction();
    await patients.deleteOne({ nhs_number: 'canary-20' }, { session });
    await session.abortTransaction();
  });
  say('transaction', [inside, await patients.findOne({ nhs_number: 'canary-20' })]);
}

async function changes(patients) {
  const stream = patients.watch([], { fullDocument: 'updateLookup', maxAwaitTimeMS: 200 });
  await stream.tryNext(); // opens the stream
  await patients.insertOne({ _id: 30, nhs_number: 'canary-30' });
  await patients.updateOne({ nhs_number: 'canary-30' }, { $set: { notes: 'canary: seen' } });
  const events = [await stream.next(), await stream.next()];
  await stream.close();
  say('changes', events.map(({ operationType, documentKey, fullDocument, updateDescription }) => (
    { operationType, documentKey, fullDocument, updateDescription })));
}

async function files(database) {
  const bucket = new GridFSBucket(database, { chunkSizeBytes: 65536 });
  const content = Buffer.alloc(300_000, 'scan');
  const upload = bucket.openUploadStream('scan.png', { metadata: { kind: 'scan' } });
  await new Promise((done, failed) => upload.on('finish', done).on('error', failed).end(content));
  const read = [];
  for await (const chunk of bucket.openDownloadStreamByName('scan.png')) read.push(chunk);
  say('files', [Buffer.concat(read).equals(content), await database.collection('fs.chunks').countDocuments()]);
}

async function errors(database, patients) {
  try {
    await patients.insertOne({ nhs_number: 'canary-1' });
  } catch (error) {
    say('duplicate', { ...failure(error), message: '' });
  }
  try {
    await patients.insertMany([{ _id: 60, nhs_number: 'canary-60' }, { nhs_number: 'canary-2' }], { ordered: false });
  } catch (error) {
    say('bulk errors', [error.result.insertedCount, error.writeErrors.map((each) => [each.index, each.code])]);
  }
  await database.createCollection('wards', { validator: { $jsonSchema: { required: ['name'] } } });
  try {
    await database.collection('wards').insertOne({ beds: 12 });
  } catch (error) {
    say('validation', { ...failure(error), message: '' });
  }
  try {
    say('prefix', await patients.countDocuments({ nhs_number: /^canary-2/ }));
  } catch (error) {
    say('prefix', failure(error));
  }
}

const { version } = fromTests('mongodb/package.json');
head('mongodb (Node.js)', version);
const client = new MongoClient(process.argv[2]);
try {
  const database = client.db();
  await database.dropDatabase();
  const patients = database.collection('patients');
  await readAndWrite(patients);
  await many(patients);
  await transactions(client, patients);
  await changes(patients);
  await files(database);
  await errors(database, patients);
} finally {
  await client.close();
}
