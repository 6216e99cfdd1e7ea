// mongoose: schemas, documents with validation and populated references.
import { createRequire } from 'node:module';

import { failure, head, say } from './lines.mjs';

// the packages lie in tests/node, not beside this file
const fromTests = createRequire(new URL('../../node/package.json', import.meta.url));
const mongoose = fromTests('mongoose');
const { Schema } = mongoose;

const Patient = mongoose.model('Patient', new Schema({
  _id: Number,
  nhs_number: { type: String, required: true, unique: true },
  surname: String,
  address: { line1: String, postcode: String },
  contacts: [{ _id: false, kind: String, phone: String }],
  visits: { type: Number, min: 0 },
  notes: Schema.Types.Mixed,
  ward: { type: Number, ref: 'Ward' },
}, { collection: 'patients', versionKey: '__v' }));
const Ward = mongoose.model('Ward', new Schema({ _id: Number, name: String }, { collection: 'wards' }));

const patient = (number) => ({
  _id: number,
  nhs_number: `canary-${number}`,
  surname: ['Smith canary', 'smithson canary', 'Jones canary'][number % 3],
  address: { line1: '1 High Street', postcode: `canary M${number % 2}` },
  contacts: [{ kind: 'home', phone: `canary-0${number}` }],
  visits: number % 100,
  notes: { text: `canary: ${number}` },
  ward: 1,
});
const range = (from, to) => Array.from({ length: to - from }, (_, index) => from + index);
const shown = (found) => found && found.toObject();

async function readAndWrite() {
  await Patient.init(); // its indexes are made
  await Ward.create({ _id: 1, name: 'renal' });
  say('insert', (await Patient.create(range(0, 6).map(patient))).map((each) => each._id));
  say('find', shown(await Patient.findOne({ nhs_number: 'canary-3' })));
  const some = Patient.find().where('nhs_number').in(['canary-1', 'canary-2']).sort('_id');
  say('queries', (await some).map(shown));
  say('range', await Patient.where('visits').gte(2).lt(5).countDocuments());
  say('populated', await Patient.findOne({ 'contacts.phone': 'canary-02' }).populate('ward').lean());
  say('find by surname', (await Patient.find({ surname: /^smi/i }).sort('_id')).map((each) => each._id));
  say('sort by surname', (await Patient.find().sort('surname _id').limit(3)).map(shown));
  const one = await Patient.findOne({ 'address.postcode': 'canary M0', visits: 4 });
  one.contacts.push({ kind: 'work', phone: 'canary-99' });
  one.notes = 'canary: changed';
  one.address.postcode = 'canary M9';
  await one.save();
  say('save', shown(await Patient.findOne({ 'address.postcode': 'canary M9' })));
  const updated = await Patient.updateMany({ 'address.postcode': 'canary M1' }, { visits: 9, $unset: { notes: 1 } });
  say('update', [updated.matchedCount, updated.modifiedCount]);
  const changed = await Patient.findOneAndUpdate({ nhs_number: 'canary-5' }, { notes: [1] }, { returnDocument: 'after' });
  say('find and modify', shown(changed));
  say('upsert', shown(await Patient.findOneAndUpdate(
    { nhs_number: 'canary-7' }, { $setOnInsert: { _id: 7 } }, { upsert: true, returnDocument: 'after' },
  )));
  say('aggregate', await Patient.aggregate([
    { $group: { _id: '$address.postcode', patients: { $sum: 1 }, first: { $min: '$_id' } } },
    { $sort: { first: 1 } },
  ]));
  say('distinct', (await Patient.distinct('address.postcode')).sort());
  say('exists', Boolean(await Patient.exists({ nhs_number: 'canary-1' })));
}

async function many() {
  const result = await Patient.bulkWrite([
    { insertOne: { document: patient(50) } },
    { updateOne: { filter: { nhs_number: 'canary-50' }, update: { visits: 1 } } },
    { deleteOne: { filter: { nhs_number: 'canary-50' } } },
  ]);
  say('bulk', [result.insertedCount, result.modifiedCount, result.deletedCount]);
  await Patient.insertMany(range(1000, 1200).map(patient));
  const read = [];
  for await (const each of Patient.find({ _id: { $gte: 1000 } }).sort('_id').cursor({ batchSize: 30 })) {
    read.push(each.nhs_number);
  }
  say('cursor', [read.length, read[0], read.at(-1)]);
  say('deleted', (await Patient.deleteMany({ _id: { $gte: 1000 } })).deletedCount);
}

async function transactions() {
  await mongoose.connection.transaction(async (session) => {
    await Patient.create([patient(20)], { session });
  });
  try {
    await mongoose.connection.transaction(async (session) => {
      await Patient.deleteOne({ nhs_number: 'canary-20' }, { session });
      throw new Error('not this time');
    });
  } catch (error) {
    say('transaction', [error.message, shown(await Patient.findOne({ nhs_number: 'canary-20' }))]);
  }
}

async function changes() {
  const stream = Patient.collection.watch([], { maxAwaitTimeMS: 200 });
  await stream.tryNext(); // opens the stream
  await Patient.create(patient(30));
  const { operationType, fullDocument } = await stream.next();
  await stream.close();
  say('changes', [operationType, fullDocument]);
}

async function files() {
  const bucket = new mongoose.mongo.GridFSBucket(mongoose.connection.db);
  const content = Buffer.alloc(300_000, 'scan');
  const upload = bucket.openUploadStream('scan.png');
  await new Promise((done, failed) => upload.on('finish', done).on('error', failed).end(content));
  const read = [];
  for await (const chunk of bucket.openDownloadStreamByName('scan.png')) read.push(chunk);
  say('files', Buffer.concat(read).equals(content));
}

async function errors() {
  try {
    await Patient.create({ ...patient(1), _id: 99 });
  } catch (error) {
    say('duplicate', { ...failure(error), message: '' });
  }
  try {
    await Patient.create({ _id: 98, visits: -1 });
  } catch (error) {
    say('validation', Object.keys(error.errors).sort());
  }
  try {
    say('prefix', await Patient.countDocuments({ nhs_number: { $regex: '^canary-2' } }));
  } catch (error) {
    say('prefix', failure(error));
  }
}

head('mongoose', mongoose.version);
mongoose.set('autoCreate', false);
await mongoose.connect(process.argv[2], { autoIndex: false });
try {
  await mongoose.connection.dropDatabase();
  await Patient.createIndexes();
  await readAndWrite();
  await many();
  await transactions();
  await changes();
  await files();
  await errors();
} finally {
  await mongoose.disconnect();
}
