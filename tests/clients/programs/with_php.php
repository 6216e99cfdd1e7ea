<?php
// The official PHP driver (the extension), as Debian packages it.

use MongoDB\BSON\{Document, Regex};
use MongoDB\Driver\{BulkWrite, Command, Cursor, Manager, Query, Session};
use MongoDB\Driver\Exception\{BulkWriteException, CommandException};

const PATIENTS = [
    ['_id' => 1, 'nhs_number' => 'canary-1', 'surname' => 'Smith canary',
     'address' => ['line1' => '1 High Street', 'postcode' => 'canary M41'],
     'contacts' => [['kind' => 'home', 'phone' => 'canary-01'], ['kind' => 'work', 'phone' => 'canary-02']],
     'visits' => 3, 'notes' => ['text' => 'canary: penicillin', 'flags' => [true, 2.5, null]], 'ward' => 'renal'],
    ['_id' => 2, 'nhs_number' => 'canary-2', 'surname' => 'smithson canary',
     'address' => ['postcode' => 'canary M41'], 'visits' => 5, 'ward' => 'renal'],
    ['_id' => 3, 'nhs_number' => 'canary-3', 'surname' => 'Jones canary',
     'address' => ['postcode' => 'canary M1'], 'visits' => 3, 'ward' => 'a+e'],
];
const QUERIES = [
    ['nhs_number' => ['$in' => ['canary-2', 'canary-3', 'canary-4']]],
    ['contacts.phone' => 'canary-02'],
    ['contacts' => ['$elemMatch' => ['kind' => 'home', 'phone' => 'canary-01']]],
    ['address.postcode' => 'canary M41', 'ward' => 'renal'],
    ['visits' => ['$gte' => 2, '$lt' => 5]],
    ['notes' => ['$exists' => false]],
    ['$or' => [['nhs_number' => 'canary-1'], ['visits' => 5]]],
];

function say(string $step, mixed $seen): void
{
    echo Document::fromPHP(['step' => $step, 'seen' => $seen])->toRelaxedExtendedJSON(), "\n";
}

final class Program
{
    private Manager $manager;
    private string $name;

    public function __construct(string $uri)
    {
        $this->manager = new Manager($uri);
        $this->name = trim(parse_url($uri, PHP_URL_PATH), '/');
    }

    public function run(): void
    {
        $this->command(['dropDatabase' => 1]);
        echo json_encode(['client' => 'PHP driver', 'version' => phpversion('mongodb')]), "\n";
        $this->readAndWrite();
        $this->change();
        $this->many();
        $this->transactions();
        $this->changes();
        $this->failures();
    }

    private function command(array $command, array $options = []): Cursor
    {
        return $this->manager->executeCommand($this->name, new Command($command), $options);
    }

    private function find(array $filter, array $options = []): array
    {
        return $this->manager->executeQuery("{$this->name}.patients", new Query($filter, $options))->toArray();
    }

    private function count(array $filter, ?Session $session = null): int
    {
        $pipeline = [['$match' => (object) $filter], ['$group' => ['_id' => 1, 'n' => ['$sum' => 1]]]];
        $options = $session === null ? [] : ['session' => $session];
        $command = ['aggregate' => 'patients', 'pipeline' => $pipeline, 'cursor' => (object) []];
        return $this->command($command, $options)->toArray()[0]->n ?? 0;
    }

    private function write(callable $fill, array $options = [], string $collection = 'patients'): array
    {
        $session = array_intersect_key($options, ['session' => 1]);
        $bulk = new BulkWrite(array_diff_key($options, $session));
        $fill($bulk);
        $done = $this->manager->executeBulkWrite("{$this->name}.$collection", $bulk, $session);
        return [$done->getInsertedCount(), $done->getMatchedCount(), $done->getModifiedCount(),
                $done->getUpsertedCount(), $done->getDeletedCount()];
    }

    private function readAndWrite(): void
    {
        $index = ['key' => ['nhs_number' => 1], 'name' => 'nhs_number_1', 'unique' => true];
        $this->command(['createIndexes' => 'patients', 'indexes' => [$index]]);
        say('insert', $this->write(fn($bulk) => array_map($bulk->insert(...), PATIENTS)));
        say('find', $this->find(['nhs_number' => 'canary-1']));
        $ids = fn(array $query) => array_column($this->find($query, ['sort' => ['_id' => 1]]), '_id');
        say('queries', array_map($ids, QUERIES));
        say('find by surname', $ids(['surname' => new Regex('^smi', 'i')]));
        say('sort by surname', $this->find([], ['sort' => ['surname' => 1], 'limit' => 2]));
        say('count', [$this->count(['visits' => 3]), $this->command(['count' => 'patients'])->toArray()[0]->n]);
        $fields = ['sort' => ['_id' => 1], 'projection' => ['nhs_number' => 1, 'contacts.phone' => 1]];
        say('projection', $this->find([], $fields));
        $codes = $this->command(['distinct' => 'patients', 'key' => 'address.postcode'])->toArray()[0]->values;
        sort($codes);
        say('distinct', $codes);
    }

    private function change(): void
    {
        $update = ['$set' => ['contacts.$[home].phone' => 'canary-03', 'visits' => 4], '$push' => ['tags' => 'new']];
        $filters = ['arrayFilters' => [['home.kind' => 'home']]];
        say('update', $this->write(fn($bulk) => $bulk->update(['nhs_number' => 'canary-1'], $update, $filters)));
        $new = ['nhs_number' => 'canary-9'];
        say('upsert', $this->write(fn($bulk) => $bulk->update($new, ['$set' => ['ward' => 'new']], ['upsert' => true])));
        say('upserted', $this->find($new, ['projection' => ['_id' => 0]]));
        say('find and modify', $this->command([
            'findAndModify' => 'patients', 'query' => ['contacts.phone' => 'canary-03'], 'new' => true,
            'update' => ['$set' => ['notes' => 'canary: none'], '$unset' => ['tags' => '']],
        ])->toArray()[0]->value);
        say('delete', $this->write(fn($bulk) => $bulk->delete($new)));
        say('aggregate', $this->command(['aggregate' => 'patients', 'cursor' => (object) [], 'pipeline' => [
            ['$match' => ['address.postcode' => ['$in' => ['canary M41', 'canary M1']]]],
            ['$group' => ['_id' => '$address.postcode', 'patients' => ['$sum' => 1], 'first' => ['$min' => '$_id']]],
            ['$sort' => ['first' => 1]],
        ]])->toArray());
    }

    private function many(): void
    {
        say('bulk', $this->write(function (BulkWrite $bulk) {
            $bulk->insert(['_id' => 10, 'nhs_number' => 'canary-10']);
            $bulk->update(['nhs_number' => 'canary-10'], ['$set' => ['visits' => 1]]);
            $bulk->update(['visits' => ['$in' => [1, 5]]], ['$set' => ['visits' => 6]], ['multi' => true]);
            $bulk->update(['nhs_number' => 'canary-11'], ['_id' => 11, 'nhs_number' => 'canary-11'], ['upsert' => true]);
            $bulk->delete(['nhs_number' => 'canary-10'], ['limit' => 1]);
        }));
        $this->write(function (BulkWrite $bulk) {
            for ($n = 1000; $n < 1300; $n++) {
                $bulk->insert(['_id' => $n, 'nhs_number' => "canary-$n", 'visits' => $n % 100]);
            }
        });
        $read = array_column($this->find(['_id' => ['$gte' => 1000]], ['sort' => ['_id' => 1], 'batchSize' => 40]), 'nhs_number');
        say('cursor', [count($read), hash('sha256', implode('', $read))]);
        $cursor = $this->manager->executeQuery("{$this->name}.patients", new Query([], ['batchSize' => 2]));
        $cursor->rewind();
        $open = (string) $cursor->getId() !== '0';
        unset($cursor);
        say('closed cursor', $open ? 'was open' : false);
        say('deleted', $this->write(fn($bulk) => $bulk->delete(['_id' => ['$gte' => 1000]])));
    }

    private function transactions(): void
    {
        $session = $this->manager->startSession();
        $key = ['nhs_number' => 'canary-20'];
        $session->startTransaction();
        $this->write(fn($bulk) => $bulk->insert(['_id' => 20] + $key), ['session' => $session]);
        [$inside, $outside] = [$this->count($key, $session), $this->count($key)];
        $session->commitTransaction();
        $session->startTransaction();
        $this->write(fn($bulk) => $bulk->update($key, ['$set' => ['ward' => 'x']]), ['session' => $session]);
        $session->abortTransaction();
        say('transaction', [$inside, $outside, $this->find($key)]);
    }

    private function changes(): void
    {
        $watch = ['aggregate' => 'patients', 'pipeline' => [['$changeStream' => ['fullDocument' => 'updateLookup']]],
                  'cursor' => (object) []];
        $stream = $this->manager->executeReadCommand($this->name, new Command($watch, ['maxAwaitTimeMS' => 3000]));
        $key = ['nhs_number' => 'canary-30'];
        $this->write(fn($bulk) => $bulk->insert(['_id' => 30] + $key));
        $this->write(fn($bulk) => $bulk->update($key, ['$set' => ['notes' => 'canary: seen']]));
        $this->write(fn($bulk) => $bulk->delete($key));
        $events = [];
        for ($stream->rewind(); count($events) < 3; $stream->next()) {
            if ($stream->valid()) {
                $event = (array) $stream->current();
                $names = ['operationType', 'documentKey', 'fullDocument', 'updateDescription'];
                $events[] = array_intersect_key($event, array_flip($names));
            }
        }
        say('changes', $events);
    }

    private function failures(): void
    {
        $failure = function (callable $try, bool $text): mixed {
            try {
                return $try();
            } catch (BulkWriteException $error) {
                return array_map(fn($each) => [$each->getIndex(), $each->getCode()], $error->getWriteResult()->getWriteErrors());
            } catch (CommandException $error) {
                return ['code' => $error->getCode(), 'message' => $text ? $error->getMessage() : '',
                        'name' => $error->getResultDocument()->codeName ?? null];
            }
        };
        say('duplicate', $failure(fn() => $this->write(fn($bulk) => $bulk->insert(['nhs_number' => 'canary-1'])), false));
        say('bulk errors', $failure(fn() => $this->write(function (BulkWrite $bulk) {
            $bulk->insert(['_id' => 40, 'nhs_number' => 'canary-40']);
            $bulk->insert(['nhs_number' => 'canary-2']);
            $bulk->insert(['_id' => 41]);
        }, ['ordered' => false]), false));
        $this->command(['create' => 'wards', 'validator' => ['$jsonSchema' => ['required' => ['name']]]]);
        say('validation', $failure(fn() => $this->write(fn($bulk) => $bulk->insert(['beds' => 12]), [], 'wards'), false));
        say('unknown command', $failure(fn() => $this->command(['noSuchCommand' => 1])->toArray(), true));
        say('prefix', $failure(fn() => $this->count(['nhs_number' => ['$regex' => '^canary-2']]), true));
    }
}

(new Program($argv[1]))->run();
