# The official Ruby driver (2.5), as Debian packages it. It knows no transactions, and on Ruby 3 it cannot parse a
# connection string: this program does that. Its own findAndModify is spelt in lower case, which mongod takes and the
# tests' server does not: so this program sends the command itself.
require 'digest'
require 'json'
require 'mongo'
require 'stringio'
require 'uri'

Mongo::Logger.logger.level = Logger::ERROR
$VERBOSE = nil

PATIENTS = [
  { _id: 1, nhs_number: 'canary-1', surname: 'Smith canary',
    address: { line1: '1 High Street', postcode: 'canary M41' },
    contacts: [{ kind: 'home', phone: 'canary-01' }, { kind: 'work', phone: 'canary-02' }],
    visits: 3, notes: { text: 'canary: penicillin', flags: [true, 2.5, nil] }, ward: 'renal' },
  { _id: 2, nhs_number: 'canary-2', surname: 'smithson canary',
    address: { postcode: 'canary M41' }, visits: 5, ward: 'renal' },
  { _id: 3, nhs_number: 'canary-3', surname: 'Jones canary',
    address: { postcode: 'canary M1' }, visits: 3, ward: 'a+e' }
].freeze

QUERIES = [
  { nhs_number: { '$in' => %w[canary-2 canary-3 canary-4] } },
  { 'contacts.phone' => 'canary-02' },
  { contacts: { '$elemMatch' => { kind: 'home', phone: 'canary-01' } } },
  { 'address.postcode' => 'canary M41', ward: 'renal' },
  { visits: { '$gte' => 2, '$lt' => 5 } },
  { notes: { '$exists' => false } },
  { '$or' => [{ nhs_number: 'canary-1' }, { visits: 5 }] }
].freeze

def client_of(uri)
  parsed = URI.parse(uri)
  given = URI.decode_www_form(parsed.query.to_s).to_h
  options = { database: parsed.path.delete_prefix('/') }
  if parsed.user
    options.update(user: URI.decode_uri_component(parsed.user), password: URI.decode_uri_component(parsed.password),
                   auth_source: given['authSource'], auth_mech: :scram)
  end
  options.update(ssl: true, ssl_ca_cert: given['tlsCAFile']) if given['tls'] == 'true'
  options[:compressors] = [given['compressors']] if given['compressors']
  Mongo::Client.new(["#{parsed.host}:#{parsed.port}"], options)
end

def say(step, seen)
  puts JSON.generate(step: step, seen: seen)
end

def failure(error)
  { code: error.respond_to?(:code) ? error.code : nil, message: error.message }
end

# One run of the scenario.
class Program
  def initialize(client)
    @client = client
    @people = client[:patients]
  end

  def run
    @client.database.drop
    puts JSON.generate(client: 'Ruby driver', version: Mongo::VERSION)
    read_and_write
    change
    many
    changes
    files
    failures
  end

  def read_and_write
    @people.indexes.create_one({ nhs_number: 1 }, unique: true)
    say('insert', @people.insert_many(PATIENTS).inserted_ids)
    say('find', @people.find(nhs_number: 'canary-1').first)
    say('queries', QUERIES.map { |query| @people.find(query, sort: { _id: 1 }).map { |each| each['_id'] } })
    say('find by surname', @people.find({ surname: /^smi/i }, sort: { _id: 1 }).map { |each| each['_id'] })
    say('sort by surname', @people.find({}, sort: { surname: 1 }).limit(2).to_a)
    say('count', [@people.count(visits: 3), @people.count])
    fields = { nhs_number: 1, 'contacts.phone' => 1 }
    say('projection', @people.find({}, sort: { _id: 1 }, projection: fields).to_a)
    say('distinct', @people.distinct('address.postcode').sort)
  end

  def change
    update = { '$set' => { 'contacts.$[home].phone' => 'canary-03', visits: 4 }, '$push' => { tags: 'new' } }
    result = @people.update_one({ nhs_number: 'canary-1' }, update, array_filters: [{ 'home.kind' => 'home' }])
    say('update', [result.matched_count, result.modified_count])
    result = @people.update_one({ nhs_number: 'canary-9' }, { '$set' => { ward: 'new' } }, upsert: true)
    say('upsert', [result.matched_count, !result.upserted_id.nil?])
    say('upserted', @people.find({ nhs_number: 'canary-9' }, projection: { _id: 0 }).first)
    modified = @client.database.command(
      findAndModify: 'patients', query: { 'contacts.phone' => 'canary-03' }, new: true,
      update: { '$set' => { notes: 'canary: none' }, '$unset' => { tags: '' } }
    )
    say('find and modify', modified.documents.first['value'])
    say('delete', @people.delete_many(nhs_number: 'canary-9').deleted_count)
    say('aggregate', @people.aggregate(
      [{ '$match' => { 'address.postcode' => { '$in' => ['canary M41', 'canary M1'] } } },
       { '$group' => { _id: '$address.postcode', patients: { '$sum' => 1 }, first: { '$min' => '$_id' } } },
       { '$sort' => { first: 1 } }]
    ).to_a)
  end

  def many
    result = @people.bulk_write(
      [{ insert_one: { _id: 10, nhs_number: 'canary-10' } },
       { update_one: { filter: { nhs_number: 'canary-10' }, update: { '$set' => { visits: 1 } } } },
       { update_many: { filter: { visits: { '$in' => [1, 5] } }, update: { '$set' => { visits: 6 } } } },
       { replace_one: { filter: { nhs_number: 'canary-11' },
                        replacement: { _id: 11, nhs_number: 'canary-11' }, upsert: true } },
       { delete_one: { filter: { nhs_number: 'canary-10' } } }]
    )
    say('bulk', [result.inserted_count, result.matched_count, result.modified_count, result.upserted_count,
                 result.deleted_count, result.upserted_ids])
    @people.insert_many((1000...1300).map { |n| { _id: n, nhs_number: "canary-#{n}", visits: n % 100 } })
    theirs = { _id: { '$gte' => 1000 } }
    read = @people.find(theirs, sort: { _id: 1 }, batch_size: 40).map { |each| each['nhs_number'] }
    say('cursor', [read.size, Digest::SHA256.hexdigest(read.join)])
    say('deleted', @people.delete_many(theirs).deleted_count)
  end

  def changes
    stream = @people.watch([], full_document: 'updateLookup', max_await_time_ms: 3000)
    @people.insert_one(_id: 30, nhs_number: 'canary-30')
    @people.update_one({ nhs_number: 'canary-30' }, { '$set' => { notes: 'canary: seen' } })
    @people.delete_one(nhs_number: 'canary-30')
    names = %w[operationType documentKey fullDocument updateDescription]
    say('changes', stream.to_enum.first(3).map { |event| event.slice(*names) })
    stream.close
  end

  def files
    bucket = @client.database.fs(chunk_size: 64 * 1024)
    content = (0..255).map(&:chr).join.b * 1200
    id = bucket.upload_from_stream('scan.png', StringIO.new(content), chunk_size: 64 * 1024, metadata: { kind: 'scan' })
    read = StringIO.new(String.new(encoding: Encoding::BINARY))
    bucket.download_to_stream(id, read)
    names = bucket.find('metadata.kind' => 'scan').map { |file| [file['filename'], file['length'], file['metadata']] }
    bucket.delete(id)
    say('files', [read.string.b == content, names, @client['fs.chunks'].count])
  end

  def failures
    begin
      @people.insert_one(nhs_number: 'canary-1')
    rescue Mongo::Error::OperationFailure => e
      say('duplicate', e.message.include?('11000'))
    end
    begin
      @people.insert_many([{ _id: 40, nhs_number: 'canary-40' }, { nhs_number: 'canary-2' }, { _id: 41 }], ordered: false)
    rescue Mongo::Error::BulkWriteError => e
      say('bulk errors', [e.result['n_inserted'], e.result['writeErrors'].map { |each| [each['index'], each['code']] }])
    end
    @client.database.command(create: 'wards', validator: { '$jsonSchema' => { required: ['name'] } })
    begin
      @client[:wards].insert_one(beds: 12)
    rescue Mongo::Error::OperationFailure => e
      say('validation', e.message.include?('121'))
    end
    begin
      say('unknown command', @client.database.command(noSuchCommand: 1).documents)
    rescue Mongo::Error::OperationFailure => e
      say('unknown command', failure(e))
    end
    begin
      say('prefix', @people.count(nhs_number: { '$regex' => '^canary-2' }))
    rescue Mongo::Error::OperationFailure => e
      say('prefix', failure(e))
    end
  end
end

Program.new(client_of(ARGV[0])).run
