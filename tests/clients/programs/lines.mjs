// What the Node.js programs print: JSON lines, keys in order.
const sorted = (_, value) =>
  value && typeof value === 'object' && !Array.isArray(value) && !value._bsontype
    ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
    : value;

export const head = (client, version) => console.log(JSON.stringify({ client, version }));
export const say = (step, seen = null) => console.log(JSON.stringify({ step, seen }, sorted));

// a server's error as a program sees it
export const failure = (error) => ({
  code: error.code,
  keyValue: error.keyValue ?? null,
  labels: [...(error.errorLabels ?? [])].sort(),
  message: error.message,
});
