// The Node.js driver over one route: node node_driver.mjs FOLDER, where FOLDER/node_modules has mongodb.
// It reads one JSON object a line and answers each with one, as the other drivers of this bench do.

import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const { MongoClient } = createRequire(join(process.argv[2], "x.js"))("mongodb");
let patients, arrivals, numbers, insertions;

async function start({ uri, authority, database, seed }) {
  const client = new MongoClient(uri, authority ? { tls: true, tlsCAFile: authority } : {});
  await client.connect();
  patients = client.db(database).collection("patients");
  arrivals = client.db(database).collection("arrivals");
  const known = await patients.find({}, { projection: { nhs_number: 1 } }).limit(1000).toArray();
  numbers = known.map((each) => each.nhs_number);
  insertions = seed * 1e8;
  return { documents: numbers.length };
}

const operations = {
  "find-one": async (turn) => {
    if ((await patients.findOne({ nhs_number: numbers[turn % numbers.length] })) === null) {
      throw new Error("a document that was inserted is not found");
    }
  },
  "insert-one": async () => {
    insertions += 1;
    await arrivals.insertOne({
      nhs_number: `9${insertions}`,
      mrn: `M${insertions}`,
      postcode: `ZZ${insertions % 99} ${insertions % 9}AB`,
      date_of_birth: new Date(-1e12 + (insertions % 20000) * 864e5),
      name: "Ada Test",
      ward: "renal",
    });
  },
};

async function run({ operation, threads, seconds }) {
  const act = operations[operation];
  const latencies = [];
  const used = process.cpuUsage();
  const began = performance.now();
  const end = began + seconds * 1e3;
  let turn = 0;
  const work = async () => {
    do {
      const before = performance.now();
      await act((turn += 7));
      latencies.push((performance.now() - before) / 1e3);
    } while (performance.now() < end);
  };
  await Promise.all(Array.from({ length: threads }, work));
  const taken = (performance.now() - began) / 1e3;
  const { user, system } = process.cpuUsage(used);
  const packed = Buffer.from(Float32Array.from(latencies).buffer).toString("base64");
  return { latencies: packed, seconds: taken, cpu_s: (user + system) / 1e6 };
}

const actions = { start, run };
for await (const line of createInterface({ input: process.stdin })) {
  const { do: action, ...order } = JSON.parse(line);
  process.stdout.write(`${JSON.stringify(await actions[action](order))}\n`);
}
process.exit(0);
