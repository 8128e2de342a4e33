<?php
/**
 * Connector of OpenEPM's modules to the access journal: one file, PHP 7.4 or later, no dependency.
 *
 * A page records an event into a local spool (no network); `flush`, by cron, systemd or after the response, sends what
 * the spool holds, in order and byte for byte, until the journal has acknowledged it. LISEZMOI.md says how to use it.
 *
 *     $journal = OpenepmJournal::fromFile('/etc/openepm/journal.ini');
 *     $journal->agent('c.martin', array('name' => 'Martin, Claire', 'role' => 'brigadier'));
 *     $journal->consultation('MC-2026-04127', 'Relecture avant transmission');
 *
 * @license GPL-3.0-or-later
 */

declare(strict_types=1);

/** What could not be recorded, and why; the message is in French, for the operator, and holds nothing personal. */
class OpenepmJournalException extends RuntimeException
{
}

/** Builds events, and puts them into the spool. */
final class OpenepmJournal
{
    const VERSION = '1.0';
    const TYPE = 'fr.openepm.journal.';
    const CATEGORY = '/\A[a-z0-9][a-z0-9-]{0,62}\z/';
    // Who is named in a sign of life.
    const SELF = 'openepm-journal';

    /** @var array<string, mixed> */
    private $settings;
    /** @var array<string, mixed>|null */
    private $actor;
    /** @var array<string, string> */
    private $client = array();
    /** @var array<string, OpenepmJournalSpool> */
    private $spools = array();
    /** @var bool */
    private $sends = false;
    /** @var string what is wrong with the settings */
    private $fault;

    /** Settings, with what is used where one is missing. */
    const SETTINGS = array(
        'url' => null,              // https://journal.example.fr
        'token_file' => null,       // the credential of the module, 0400 or 0440
        'source' => null,           // begins with the credential's prefix; one per spool, so one per web host
        'spool' => null,            // directory of this connector alone, 0700
        'category' => 'main-courante',
        'ca_file' => '',            // certificate of the authority, where the system does not know it
        'send' => 'later',          // later: by the command; after-response: when the page has been answered
        'max_mib' => 256,           // of a category's spool
        'max_age_days' => 7,        // what waits longer, while the journal does not answer, is set aside and lost
        'quarantine_days' => 50,    // how long what was refused is kept, in clear, also once declared
        'receipts_days' => 70,      // how long receipts are kept; they hold nothing personal
        'rhythm_minutes' => 0,      // `flush` sends a sign of life after so long without an event; 0: never
        'timeout_seconds' => 5,
        'strict' => false,          // true: an event that cannot be spooled is an exception, and the page shall stop
    );

    /**
     * Take settings; where they are wrong, each call says so in PHP's error log and returns false, unless `strict` is set.
     *
     * @param array<string, mixed> $settings see SETTINGS
     * @param string $fault what is known to be wrong with them
     */
    public function __construct($settings, string $fault = '')
    {
        $given = is_array($settings) ? $settings : array();
        $this->settings = array_merge(self::SETTINGS, $given);
        $this->fault = $fault !== '' ? $fault : self::faultOf($given, $this->settings);
        if ($this->fault !== '') {
            $this->refuse($this->fault);
        }
    }

    /** Read the settings from an INI file; by default the one that OPENEPM_JOURNAL names, else that of /etc. */
    public static function fromFile($path = ''): self
    {
        $path = is_string($path) && $path !== '' ? $path : (getenv('OPENEPM_JOURNAL') ?: '/etc/openepm/journal.ini');
        $text = @file_get_contents($path);
        $settings = $text === false ? false : @parse_ini_string($text, false, INI_SCANNER_TYPED);
        $fault = $text === false ? 'fichier de réglages absent ou illisible'
            : 'fichier de réglages mal formé : une ligne, un réglage ; les textes entre guillemets';
        if ($settings !== false) {
            $fault = self::faultOf($settings, array_merge(self::SETTINGS, $settings));
        }
        return new self($settings ?: array(), $fault === '' ? '' : "$path : $fault");
    }

    /** @return string what is wrong with the settings, or an empty text */
    private static function faultOf(array $given, array $settings): string
    {
        $unknown = array_diff(array_keys($given), array_keys(self::SETTINGS));
        if ($unknown !== array()) {
            return 'réglage inconnu : ' . implode(', ', $unknown);
        }
        foreach (self::SETTINGS as $name => $default) {
            if ($default === null && (!is_string($settings[$name]) || $settings[$name] === '')) {
                return "réglage manquant : $name";
            }
            if (is_int($default) && !is_numeric($settings[$name])) {
                return "réglage $name : un nombre est attendu";
            }
            if (is_string($default) && !is_string($settings[$name])) {
                return "réglage $name : un texte est attendu";
            }
        }
        if (preg_match('/\Ahttps?:\/\/[^\/]/i', $settings['url']) !== 1) {
            return 'réglage url : https://…, ou http://…, est attendu';
        }
        if ($settings['spool'][0] !== '/') {
            return 'réglage spool : un chemin absolu est attendu';
        }
        $isKnown = in_array($settings['send'], array('later', 'after-response'), true);
        return $isKnown ? '' : 'réglage send : later ou after-response';
    }

    /** Return why nothing can be recorded or sent, or an empty text. */
    public function fault(): string
    {
        return $this->fault;
    }

    /** Tell the operator, and stop the page only if it has asked for that; return false, for the caller to return. */
    private function refuse(string $told): bool
    {
        error_log('openepm-journal: ' . $told);
        if (filter_var($this->settings['strict'], FILTER_VALIDATE_BOOLEAN)) {
            throw new OpenepmJournalException($told);
        }
        return false;
    }

    /*
     * What follows is called by pages. Nothing is declared of what they give, nor how many: PHP itself would throw, before
     * this file can say what is wrong. What is missing or of another type is told as any other fault is.
     */

    /**
     * Say who acts in what follows.
     *
     * @param string|null $account
     * @param array<string, string> $about name, role, unit
     * @param array<string, string> $client address, workstation, session
     */
    public function agent($account = null, $about = array(), $client = array()): self
    {
        if (!is_array($about) || !is_array($client)) {
            $this->refuse('agent : un tableau est attendu, comme array(\'name\' => …)');
        }
        $account = self::text($account);
        $this->actor = $account === '' ? null : array('account' => $account) + self::words($about);
        if ($client === array() && isset($_SERVER['REMOTE_ADDR'])) {
            $client = array('address' => (string) $_SERVER['REMOTE_ADDR']);
        }
        $this->client = self::words($client);
        return $this;
    }

    /** A sheet was shown. */
    public function consultation($reference = null, $motif = null, $options = array()): bool
    {
        return $this->record('consultation', 'view', $reference, array('justification' => $motif), $options);
    }

    /** A sheet was printed or turned into a PDF. */
    public function impression($reference = null, $motif = null, $options = array()): bool
    {
        return $this->record('consultation', 'print', $reference, array('justification' => $motif), $options);
    }

    /** A sheet was taken out of the software as a file (CSV, spreadsheet). */
    public function export($reference = null, $motif = null, $options = array()): bool
    {
        return $this->record('consultation', 'export', $reference, array('justification' => $motif), $options);
    }

    /** An attached document was opened. */
    public function pieceJointe($reference = null, $motif = null, $options = array()): bool
    {
        return $this->record('consultation', 'attachment', $reference, array('justification' => $motif), $options);
    }

    /** A sheet was written for the first time. */
    public function creation($reference = null, $options = array()): bool
    {
        return $this->record('collection', 'create', $reference, array(), $options);
    }

    /** A sheet was changed; option `fields`: the names of the fields, never their values. */
    public function modification($reference = null, $options = array()): bool
    {
        return $this->record('modification', 'update', $reference, array(), $options);
    }

    /** A sheet was validated, or signed. */
    public function validation($reference = null, $options = array()): bool
    {
        return $this->record('modification', 'validate', $reference, array(), $options);
    }

    /** Rights of an account were changed; the reference is the account. */
    public function droits($reference = null, $options = array()): bool
    {
        return $this->record('modification', 'rights', $reference, array(), $options);
    }

    /** A sheet was removed. */
    public function suppression($reference = null, $options = array()): bool
    {
        return $this->record('erasure', 'delete', $reference, array(), $options);
    }

    /**
     * A sheet was given to somebody outside (prosecutor, other service).
     *
     * @param string[] $recipients
     */
    public function communication($reference = null, $recipients = array(), $motif = null, $options = array()): bool
    {
        $data = array('justification' => $motif, 'recipients' => $recipients);
        return $this->record('disclosure', 'transmit', $reference, $data, $options);
    }

    /**
     * Sheets were brought together; one entry for each, joined by `act`, so that each can be withheld on its own.
     *
     * @param string[] $references
     */
    public function rapprochement($references = array(), $motif = null, $options = array()): bool
    {
        if (!is_array($references) || count($references) < 2) {
            return $this->refuse('rapprochement : deux références au moins sont attendues, comme array($a, $b)');
        }
        $act = bin2hex(random_bytes(8));
        $all = true;
        foreach ($references as $reference) {
            $data = array('justification' => $motif, 'act' => $act, 'count' => count($references));
            $all = $this->record('combination', 'link', $reference, $data, $options) && $all;
        }
        return $all;
    }

    /** A search was made, with so many results; its criteria stay out. */
    public function recherche($count = null, $options = array()): bool
    {
        return $this->record('access', 'search', null, array('count' => $count), $options);
    }

    /** A list was shown, of so many sheets. */
    public function liste($count = null, $options = array()): bool
    {
        return $this->record('access', 'list', null, array('count' => $count), $options);
    }

    /** Statistics were computed. */
    public function statistiques($options = array()): bool
    {
        return $this->record('access', 'statistics', null, array(), $options);
    }

    /** Somebody signed in. */
    public function connexion($options = array()): bool
    {
        return $this->record('access', 'login', null, array(), $options);
    }

    /** Somebody signed out. */
    public function deconnexion($options = array()): bool
    {
        return $this->record('access', 'logout', null, array(), $options);
    }

    /** Somebody failed to sign in; never give the password. */
    public function echecConnexion($options = array()): bool
    {
        $options = is_array($options) ? $options + array('outcome' => 'failure') : $options;
        return $this->record('access', 'login-failed', null, array(), $options);
    }

    /** An act that this file does not know. */
    public function __call($name, $arguments): bool
    {
        return $this->refuse("appel inconnu : $name() ; EVENEMENTS.md donne ceux qu'il y a");
    }

    /**
     * Record an act; every method above ends here.
     *
     * @param string $action
     * @param string|null $operation
     * @param string|null $reference
     * @param array<string, mixed> $data members of `data`
     * @param array<string, mixed> $options category, outcome (success, denied, failure), fields, count, actor, traceparent,
     *   time, authorisation (date, issuer, reference)
     * @return bool whether it is in the spool; false after a fault that PHP's error log tells
     */
    public function record($action = '', $operation = null, $reference = null, $data = array(), $options = array()): bool
    {
        try {
            if (!is_array($options) || !is_array($data)) {
                throw new OpenepmJournalException('options : un tableau est attendu, comme array(\'category\' => …)');
            }
            $spool = $this->spool($options['category'] ?? $this->settings['category']);
            $event = $this->event($action, $operation, $reference, $data, $options);
            $faults = OpenepmJournalRules::check($event);
            if ($faults !== array()) {
                $told = array_map(function (array $fault): string {
                    return OpenepmJournalWords::fault($fault[0], $fault[1]);
                }, $faults);
                throw new OpenepmJournalException('rien n\'est noté : ' . implode(' ; ', $told));
            }
            $spool->append($event);
        } catch (Throwable $error) {
            // No fault of this file may stop a page that did not ask for it.
            $isOurs = $error instanceof OpenepmJournalException;
            return $this->refuse($isOurs ? $error->getMessage()
                : get_class($error) . ', ligne ' . $error->getLine() . ' : ' . $error->getMessage());
        }
        $this->sendAfterResponse();
        return true;
    }

    /** Return the spool of a category. */
    public function spool($category): OpenepmJournalSpool
    {
        if ($this->fault !== '') {
            throw new OpenepmJournalException($this->fault);
        }
        if (!is_string($category) || preg_match(self::CATEGORY, $category) !== 1) {
            throw new OpenepmJournalException('catégorie : de 1 à 63 lettres minuscules, chiffres ou tirets');
        }
        if (!isset($this->spools[$category])) {
            $this->spools[$category] = new OpenepmJournalSpool($this->settings, $category);
        }
        return $this->spools[$category];
    }

    /** @return OpenepmJournalSpool[] those that exist on the disk */
    public function spools(): array
    {
        $found = array();
        $directories = $this->fault === '' ? glob($this->settings['spool'] . '/*', GLOB_ONLYDIR) : array();
        foreach ($directories ?: array() as $directory) {
            if (preg_match(self::CATEGORY, basename($directory)) === 1) {  // a disk of its own has a lost+found
                $found[] = $this->spool(basename($directory));
            }
        }
        return $found;
    }

    /**
     * Send what the spools hold, for some seconds at most; `$atOnce`: also within the pause that follows a failure.
     *
     * @return array<string, string> by category, what stopped it; empty if all is acknowledged
     */
    public function flush(float $seconds = 50.0, bool $atOnce = false): array
    {
        $until = microtime(true) + $seconds;
        $this->beat();
        return $this->eachSender(function (OpenepmJournalSender $sender) use ($until, $atOnce): string {
            return $sender->run($until, $atOnce);
        });
    }

    /**
     * Send once more what was set aside, its cause mended, for some seconds at most; then what waits, unless the
     * credential is another one, for what was set aside alone.
     *
     * @return array<string, string> by category, what stopped it
     */
    public function again(float $seconds = 50.0, string $tokenFile = ''): array
    {
        $until = microtime(true) + $seconds;
        $settings = $tokenFile === '' ? $this->settings : array('token_file' => $tokenFile) + $this->settings;
        return $this->eachSender(function (OpenepmJournalSender $sender) use ($until, $tokenFile): string {
            return $sender->again($until) ?: ($tokenFile === '' ? $sender->run($until, true) : '');
        }, $settings);
    }

    /** Set aside all that waits in a category, which the journal will not have under this name. */
    public function drop(string $category): string
    {
        return (new OpenepmJournalSender($this->settings, $this->existing($category)))->drop();
    }

    /** Forget numbers that the operator has declared lost: how many losses and events set aside these were. */
    public function declared(string $category, int $first, int $last): int
    {
        $spool = $this->existing($category);
        $lock = $spool->lock('send.lock', LOCK_EX);
        try {
            return $spool->declared($first, $last);
        } finally {
            fclose($lock);
        }
    }

    /** How many events the last call has set aside. @var int */
    public $aside = 0;

    /** @return array<string, string> by category, what an act of its sender told */
    private function eachSender(callable $act, ?array $settings = null): array
    {
        $told = $this->fault === '' ? array() : array('réglages' => $this->fault);
        $this->aside = 0;
        foreach ($this->spools() as $spool) {
            $sender = new OpenepmJournalSender($settings ?? $this->settings, $spool);
            try {
                $told[$spool->category] = $act($sender);
            } catch (OpenepmJournalException $error) {
                $told[$spool->category] = $error->getMessage();
            }
            $this->aside += $sender->aside;
        }
        return array_filter($told, 'strlen');
    }

    private function existing(string $category): OpenepmJournalSpool
    {
        foreach ($this->spools() as $spool) {
            if ($spool->category === $category) {
                return $spool;
            }
        }
        throw new OpenepmJournalException("$category : aucune file de ce nom dans {$this->settings['spool']}");
    }

    /**
     * Return what keeps events from being recorded or sent, whatever waits.
     *
     * @return string[]
     */
    public function troubles(): array
    {
        if ($this->fault !== '') {
            return array($this->fault);
        }
        $root = $this->settings['spool'];
        $told = array();
        if (!is_dir($root)) {
            return array("$root : répertoire d'attente absent ; install -d -m 700 -o COMPTE-DE-PHP $root");
        }
        $owner = fileowner($root);
        $self = function_exists('posix_geteuid') ? posix_geteuid() : $owner;
        if (!is_writable($root) || ($self !== 0 && $self !== $owner)) {
            $told[] = "$root : n'est pas à ce compte ; chown, ou lancez sous le compte de PHP";
        }
        foreach ($this->spools() as $spool) {
            if (fileowner($spool->directory) !== $owner) {
                $directory = $spool->directory;
                $told[] = "$directory : n'est pas au compte de $root ; chown -R --reference=$root $directory";
            }
        }
        if (!is_readable($this->settings['token_file'])) {
            $told[] = "{$this->settings['token_file']} : jeton illisible (token_file)";
        }
        return $told;
    }

    /**
     * Return the health of each category: waiting (events), oldest (RFC 3339), bytes, ahead (times by number), aside
     * (reasons by number), losses (first, last, reason), epoch, error, since, ran_at, acknowledged_at, clock_seconds.
     *
     * @return array<string, array<string, mixed>>
     */
    public function health(): array
    {
        $health = array();
        foreach ($this->spools() as $spool) {
            if (!is_readable($spool->directory)) {
                continue;  // troubles() tells it
            }
            $state = (new OpenepmJournalSender($this->settings, $spool))->read();
            $health[$spool->category] = $spool->measure($state)
                + array_diff_key($state, array('offsets' => 1, 'retry_at' => 1, 'pause' => 1));
        }
        return $health;
    }

    /** @return array<string, mixed> an event as it was given, without empty members; OpenepmJournalRules says if it is one */
    private function event($action, $operation, $reference, array $data, array $options): array
    {
        $known = array('category', 'outcome', 'fields', 'count', 'traceparent', 'time', 'actor', 'authorisation');
        $unknown = array_diff(array_keys($options), $known);
        if ($unknown !== array()) {
            throw new OpenepmJournalException('option inconnue : ' . implode(', ', $unknown));
        }
        $actor = isset($options['actor']) ? self::words($options['actor']) : $this->actor;
        if (!isset($actor['account'])) {
            throw new OpenepmJournalException('aucun agent : appelez agent($compte) avant');
        }
        $data += array_intersect_key($options, array('count' => 1, 'fields' => 1, 'authorisation' => 1));
        $data += array('actor' => $actor, 'outcome' => $options['outcome'] ?? 'success', 'operation' => $operation);
        $data += array('client' => $this->client);
        if (array_key_exists('justification', $data)) {
            $data['justification'] = self::text($data['justification']);
        }
        foreach (array('fields', 'recipients') as $list) {
            if (is_array($data[$list] ?? null)) {
                $data[$list] = array_values(self::words($data[$list]));
            }
        }
        if (is_string($data['count'] ?? null) && preg_match('/\A\d{1,15}\z/', $data['count']) === 1) {
            $data['count'] = (int) $data['count'];  // as databases give it
        }
        $event = array(
            'specversion' => '1.0',
            'id' => bin2hex(random_bytes(16)),
            'source' => $this->settings['source'],
            'type' => self::TYPE . self::text($action),
            'time' => $options['time'] ?? self::now(),
            'data' => self::given($data, array('count')),
            'subject' => self::text($reference),
            'traceparent' => $options['traceparent'] ?? null,
        );
        return self::given($event);
    }

    /**
     * Return members without the empty ones, which the journal does not take; `$asked` are those that must be given.
     *
     * @param string[] $asked
     */
    private static function given(array $members, array $asked = array()): array
    {
        return array_filter($members, function ($value, $name) use ($asked): bool {
            return !in_array($value, array(null, '', array()), true) || in_array($name, $asked, true);
        }, ARRAY_FILTER_USE_BOTH);
    }

    /** Return the moment, to the microsecond; an event keeps it however often it is sent. */
    public static function now(): string
    {
        return (new DateTimeImmutable('now', new DateTimeZone('UTC')))->format('Y-m-d\TH:i:s.u\Z');
    }

    /**
     * Return a text in UTF-8; what is not is taken for Windows-1252, which Latin-1 pages use.
     *
     * @param mixed $text of no text (null, a list) nothing stays
     */
    public static function text($text): string
    {
        $text = is_scalar($text) ? (string) $text : '';
        if (preg_match('//u', $text) === 1) {
            return trim($text);
        }
        $converted = function_exists('iconv') ? @iconv('Windows-1252', 'UTF-8//IGNORE', $text) : false;
        return trim($converted !== false ? $converted : (string) preg_replace('/[^\x20-\x7e]/', '?', $text));
    }

    /** @return array<mixed, string> the texts of an array, without the empty ones: the journal takes no empty member */
    private static function words($texts): array
    {
        return array_filter(array_map(array(self::class, 'text'), is_array($texts) ? $texts : array()), 'strlen');
    }

    /** Put a sign of life into each spool that is empty and had no event for the time that is set. */
    private function beat(): void
    {
        $minutes = (int) $this->settings['rhythm_minutes'];
        foreach ($minutes > 0 ? $this->spools() : array() as $spool) {
            $state = (new OpenepmJournalSender($this->settings, $spool))->read();
            // Not of a category that the journal has never taken an event of: it may be misspelt.
            if (isset($state['acknowledged_at']) && $spool->stillSince() <= time() - 60 * $minutes) {
                $actor = array('account' => self::SELF);
                $this->record('access', null, null, array(), array('category' => $spool->category, 'actor' => $actor));
            }
        }
    }

    private function sendAfterResponse(): void
    {
        // Only php-fpm lets the browser have its page first: elsewhere sending would be in the page's time.
        $isAfter = $this->settings['send'] === 'after-response' && function_exists('fastcgi_finish_request');
        if ($this->sends || !$isAfter) {
            return;
        }
        $this->sends = true;
        register_shutdown_function(function (): void {
            // Once more, so that it comes after every function that the page has registered.
            register_shutdown_function(array($this, 'finish'));
        });
    }

    /** End the response, then send; the session is closed before: its next page must not wait for the journal. */
    public function finish(): void
    {
        if (function_exists('session_status') && session_status() === PHP_SESSION_ACTIVE) {
            session_write_close();
        }
        fastcgi_finish_request();
        try {
            $this->flush((float) $this->settings['timeout_seconds']);
        } catch (Throwable $error) {
            error_log('openepm-journal: ' . get_class($error) . ', ligne ' . $error->getLine());
        }
    }
}

/**
 * The events of one category that wait: segments of lines, one event each, named by the first sequence number in them.
 *
 * The last segment is written, under a lock; the earlier ones are sent, and removed once acknowledged. A number is used
 * once: the next follows the last complete line, the numbers lost since (file `lost`), or the name of an empty segment.
 */
final class OpenepmJournalSpool
{
    const SEGMENT_BYTES = 4194304;
    const LOST_BYTES = 128;
    const STATE_BYTES = 4096;
    // The journal takes no more; a line is always shorter than the longest tail that is read of a segment.
    const LINE_BYTES = 16384;
    const TAILS = array(4096, 131072);
    // Reasons on the disk are codes, which the connectors in PHP and in Python put into words when they read them.
    const TOO_OLD = 'time-too-old';
    const NOT_WRITTEN = 'not-written';
    const GIVEN_UP = 'given-up';
    // The segment of what was set aside and is sent again; no event has its number.
    const BACK = '0000000000000000.ndjson';
    // What waits for its time, while the others pass.
    const AHEAD = 'ahead.ndjson';

    /** @var string */
    public $category;
    /** @var string */
    public $directory;
    /** @var int */
    private $limit;

    /** @param array<string, mixed> $settings */
    public function __construct(array $settings, string $category)
    {
        $this->category = $category;
        $this->directory = $settings['spool'] . '/' . $category;
        $this->limit = (int) $settings['max_mib'] * 1048576;
    }

    /**
     * Number an event and write it for good; nothing of it stays if that fails.
     *
     * @param array<string, mixed> $event without its sequence
     */
    public function append(array $event): void
    {
        $lock = $this->prepare();
        try {
            $segments = $this->segments();
            $path = end($segments);
            $next = $path === false ? 1 : $this->next($path);
            list($count, $first, $since) = $this->lost();
            $next = $count > 0 ? max($next, $first + $count) : $next;
            try {
                $this->write($path === false ? $this->start(1) : $path, $this->line($event, $next), true);
            } catch (Throwable $error) {
                $this->lose($count + 1, $count > 0 ? $first : $next, $count > 0 ? $since : $event['time']);
                throw $error;
            }
            if ($count > 0) {
                $this->noteLoss($first, $first + $count - 1, self::NOT_WRITTEN, $since);
                $this->lose(0, 0, '');
            }
        } finally {
            fclose($lock);
        }
    }

    /** Return since when (Unix time) the spool is empty; the present if something waits. */
    public function stillSince(): int
    {
        $segments = $this->segments();
        clearstatcache();
        $last = end($segments);
        return $last !== false && count($segments) === 1 && filesize($last) === 0 ? (int) filemtime($last) : time();
    }

    /** @return string[] the paths of the segments, in order */
    public function segments(): array
    {
        $found = array();
        foreach (scandir($this->directory) ?: array() as $name) {
            if (preg_match('/\A\d{16}\.ndjson\z/', $name) === 1) {
                $found[] = $this->directory . '/' . $name;
            }
        }
        return $found;
    }

    /**
     * Return the segments that are no longer written; the last is closed first, if it holds anything and is needed.
     *
     * @return string[]
     */
    public function closed(): array
    {
        $lock = $this->lock('write.lock', LOCK_EX);
        try {
            $segments = $this->segments();
            $last = end($segments);
            if ($last === false) {
                return array();
            }
            $this->last($last);
            $size = filesize($last);
            if ($size > 0 && (count($segments) === 1 || $size >= self::SEGMENT_BYTES)) {
                $next = $this->next($last);
                list($count, $first) = $this->lost();
                $this->start($count > 0 ? max($next, $first + $count) : $next);
                return $segments;
            }
            return array_slice($segments, 0, -1);
        } finally {
            fclose($lock);
        }
    }

    /** Take a lock of the directory; it ends with the process. @return resource|null null if it is taken */
    public function lock(string $name, int $how)
    {
        self::own($this->directory);
        $file = @fopen($this->directory . '/' . $name, 'c');
        if ($file === false) {
            throw new OpenepmJournalException($this->directory . ' : le répertoire d\'attente ne peut être écrit');
        }
        if (!flock($file, $how)) {
            fclose($file);
            return null;
        }
        return $file;
    }

    /** @return array{int, int, string} how many events were lost since the last line, the first number, its time */
    public function lost(): array
    {
        $text = (string) @file_get_contents($this->directory . '/lost');
        $parts = explode(' ', trim($text));
        return count($parts) === 3 ? array((int) $parts[0], (int) $parts[1], $parts[2]) : array(0, 0, '');
    }

    /** Keep for good which numbers the journal will never get; the operator declares them. */
    public function noteLoss(int $first, int $last, string $reason, string $since): void
    {
        $loss = array('first' => $first, 'last' => $last, 'reason' => $reason, 'since' => $since);
        $this->add('losses.ndjson', json_encode($loss, JSON_UNESCAPED_UNICODE) . "\n");
    }

    /** Return the name of this spool's count: another spool, with the same source, counts from 1 under another name. */
    public function epoch(): string
    {
        return trim((string) @file_get_contents($this->directory . '/epoch'));
    }

    /** Write a small file as a whole: it is the old one or the new one, whatever happens. */
    public function replace(string $name, string $content): void
    {
        $path = $this->directory . '/' . $name;
        $temporary = $path . '.new';
        $file = @fopen($temporary, 'wb');
        if ($file === false || !@chmod($temporary, 0600) || @fwrite($file, $content) !== strlen($content)
            || !self::sync($file) || !@rename($temporary, $path)) {
            throw new OpenepmJournalException("$path : écriture impossible (disque plein ?)");
        }
        fclose($file);
        self::syncDirectory($this->directory);
    }

    /** Add lines to a file, for good. */
    public function add(string $name, string $lines): void
    {
        $this->write($this->directory . '/' . $name, $lines, false);
    }

    /** What another account (root, by hand) makes in a directory could not be written by the pages afterwards. */
    private static function own(string $directory): void
    {
        if (function_exists('posix_geteuid') && ($owner = @fileowner($directory)) !== posix_geteuid()) {
            $account = $owner === false ? false : posix_getpwuid($owner);
            $name = is_array($account) ? $account['name'] : (string) $owner;
            throw new OpenepmJournalException(
                "$directory : appartient à un autre compte que celui-ci ; lancez sous celui de PHP : runuser -u $name -- …"
            );
        }
    }

    /** Make the directory, if need be, and return its lock. @return resource */
    private function prepare()
    {
        $root = dirname($this->directory);
        if (is_dir($root)) {
            self::own($root);
        } elseif (function_exists('posix_geteuid') && posix_geteuid() === 0) {
            throw new OpenepmJournalException(
                "$root : répertoire d'attente absent, et root n'y ferait que du sien ; install -d -m 700 -o COMPTE-DE-PHP $root"
            );
        }
        if (!is_dir($this->directory) && !@mkdir($this->directory, 0700, true) && !is_dir($this->directory)) {
            throw new OpenepmJournalException($this->directory . ' : le répertoire d\'attente ne peut être créé');
        }
        $lock = $this->lock('write.lock', LOCK_EX);
        clearstatcache();
        if (!is_file($this->directory . '/lost')) {
            @chmod($this->directory, 0700);
            self::syncDirectory(dirname($this->directory));
            $this->replace('epoch', gmdate('Ymd') . '-' . bin2hex(random_bytes(4)) . "\n");
            // Their blocks are taken now, so that a full disk can be told and emptied; `lost` is the last to appear.
            $this->replace('state.json', str_pad('{}', self::STATE_BYTES));
            $this->replace('lost', str_pad('0 0 -', self::LOST_BYTES));
        }
        return $lock;
    }

    private function start(int $first): string
    {
        $path = $this->directory . '/' . sprintf('%016d', $first) . '.ndjson';
        $file = @fopen($path, 'ab');
        if ($file === false) {
            throw new OpenepmJournalException($this->directory . ' : le fichier d\'attente ne peut être créé');
        }
        @chmod($path, 0600);
        self::sync($file);
        fclose($file);
        // Its name holds the number that comes next: after a crash of the machine it must be there.
        self::syncDirectory($this->directory);
        return $path;
    }

    /** Return the number that follows what a segment holds. */
    private function next(string $path): int
    {
        $last = $this->last($path);
        return $last === '' ? (int) basename($path, '.ndjson') : self::sequence($last) + 1;
    }

    /** Return the last line; one that a killed process has not ended is cut off: nobody was told that it is kept. */
    private function last(string $path): string
    {
        clearstatcache(true, $path);
        $size = (int) filesize($path);
        foreach (self::TAILS as $bytes) {
            $start = max(0, $size - $bytes);
            $tail = (string) file_get_contents($path, false, null, $start);
            $lines = explode("\n", $tail);
            if ($start === 0 || count($lines) > 2) {
                break;
            }
        }
        $unfinished = strlen((string) array_pop($lines));
        if ($unfinished > 0) {
            $file = fopen($path, 'r+b');
            if ($file === false || !ftruncate($file, $size - $unfinished)) {
                throw new OpenepmJournalException("$path : fichier d'attente abîmé : ligne inachevée");
            }
            fclose($file);
            clearstatcache(true, $path);
        }
        return (string) end($lines);
    }

    private function write(string $path, string $lines, bool $isBounded): void
    {
        if ($isBounded && $this->bytes() + strlen($lines) > $this->limit) {
            throw new OpenepmJournalException($this->directory . ' : file pleine (max_mib) ; l\'envoi est-il arrêté ?');
        }
        $file = @fopen($path, 'ab');
        if ($file === false) {
            throw new OpenepmJournalException("$path : écriture impossible");
        }
        $before = (int) fstat($file)['size'];
        if ($before === 0) {
            @chmod($path, 0600);
        }
        $written = @fwrite($file, $lines);
        if ($written !== strlen($lines) || !self::sync($file)) {
            ftruncate($file, $before);
            fclose($file);
            throw new OpenepmJournalException("$path : écriture impossible (disque plein ?)");
        }
        fclose($file);
    }

    /** Return the bytes that wait. */
    public function bytes(): int
    {
        $bytes = 0;
        foreach ($this->segments() as $path) {
            clearstatcache(true, $path);
            $bytes += (int) @filesize($path);
        }
        return $bytes;
    }

    /**
     * @param array<string, mixed> $state of the sender
     * @return array<string, mixed> waiting, oldest, bytes, ahead, aside, losses, epoch
     */
    public function measure(array $state): array
    {
        $waiting = 0;
        $oldest = null;
        foreach ($this->segments() as $path) {
            $file = fopen($path, 'rb');
            if ($file === false) {
                continue;
            }
            fseek($file, (int) ($state['offsets'][basename($path)] ?? 0));
            while (($line = fgets($file)) !== false) {
                $waiting++;
                $oldest = $oldest ?? self::time($line);
            }
            fclose($file);
        }
        $ahead = array();
        foreach ($this->kept(self::AHEAD) as $line) {
            $ahead[self::sequence($line)] = self::time($line);
        }
        $aside = array();
        foreach ($this->quarantines() as $name) {
            foreach ($this->kept($name) as $line) {
                $reason = (string) (json_decode($line, true)['reason'] ?? '');
                $aside[self::numberAside($line)] = OpenepmJournalWords::reason($reason);
            }
        }
        $losses = array_values(array_filter(array_map('json_decode', $this->kept('losses.ndjson'))));
        list($count, $first) = $this->lost();
        if ($count > 0) {
            $losses[] = (object) array('first' => $first, 'last' => $first + $count - 1, 'reason' => self::NOT_WRITTEN);
        }
        foreach ($losses as $loss) {
            $loss->reason = OpenepmJournalWords::LOSSES[$loss->reason] ?? $loss->reason;
        }
        return array('waiting' => $waiting + count($ahead), 'oldest' => $oldest, 'bytes' => $this->bytes(),
            'ahead' => $ahead, 'aside' => $aside, 'losses' => $losses, 'epoch' => $this->epoch());
    }

    /** @return string[] the lines of a file; none where there is no such file */
    public function kept(string $name): array
    {
        return @file($this->directory . '/' . $name) ?: array();
    }

    /** @return string[] the names of the files of what was set aside */
    private function quarantines(): array
    {
        return array_map('basename', glob($this->directory . '/quarantine-*.ndjson') ?: array());
    }

    /**
     * Take what was set aside out of its files, but for what is too old; a kill leaves some of it in both.
     *
     * @param callable(string): void $take keeps lines, for good
     */
    public function takeBack(callable $take): void
    {
        foreach ($this->quarantines() as $name) {
            $back = '';
            $kept = '';
            foreach ($this->kept($name) as $line) {
                $noted = json_decode($line, true);
                if (!is_array($noted) || ($noted['reason'] ?? '') === self::TOO_OLD) {
                    $kept .= $line;
                } else {
                    $back .= $noted['event'] . "\n";
                }
            }
            if ($back !== '') {
                $take($back);
                $this->replace($name, $kept);
            }
        }
    }

    /** Forget the losses, and what was set aside, that have their numbers between two; return how many they were. */
    public function declared(int $first, int $last): int
    {
        $lock = $this->lock('write.lock', LOCK_EX);
        try {
            list($count, $from) = $this->lost();
            $isWithin = $count > 0 && $first <= $from && $from + $count - 1 <= $last;
            if ($isWithin) {
                $this->start($from + $count);  // first: these numbers are never used again
                $this->lose(0, 0, '');
            }
            $losses = $this->kept('losses.ndjson');
            $left = array_filter($losses, function (string $line) use ($first, $last): bool {
                $loss = json_decode($line);
                return !isset($loss->first, $loss->last) || $loss->first < $first || $loss->last > $last;
            });
            $this->replace('losses.ndjson', implode('', $left));
        } finally {
            fclose($lock);
        }
        $done = ($isWithin ? 1 : 0) + count($losses) - count($left);
        foreach ($this->quarantines() as $name) {
            $told = array_filter($this->kept($name), function (string $line) use ($first, $last): bool {
                $number = self::numberAside($line);
                return $first <= $number && $number <= $last;
            });
            if ($told !== array()) {
                // Kept as long as the others, but no longer counted, nor sent again.
                $this->add('declared-' . substr($name, strlen('quarantine-')), implode('', $told));
                $this->replace($name, implode('', array_diff_key($this->kept($name), $told)));
                $done += count($told);
            }
        }
        return $done;
    }

    /** Keep the sender's state; it stays one block, so that a kill leaves the old one or the new one. */
    public function keepState(array $state): void
    {
        $flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE;
        if (($state['offsets'] ?? null) === array()) {
            unset($state['offsets']);  // it would be written as a list
        }
        if (isset($state['error'])) {
            $state['error'] = substr($state['error'], 0, 1000);
        }
        $this->overwrite('state.json', (string) json_encode($state, $flags), self::STATE_BYTES);
    }

    private function lose(int $count, int $first, string $since): void
    {
        try {
            $this->overwrite('lost', $count > 0 ? "$count $first $since" : '0 0 -', self::LOST_BYTES);
        } catch (OpenepmJournalException $error) {
            error_log('openepm-journal: perte non consignée');
        }
    }

    private function overwrite(string $name, string $content, int $bytes): void
    {
        $file = @fopen($this->directory . '/' . $name, 'r+b');
        if ($file === false || @fwrite($file, str_pad($content, $bytes)) < $bytes || !self::sync($file)) {
            throw new OpenepmJournalException("{$this->directory}/$name : écriture impossible");
        }
        fclose($file);
    }

    /** @param array<string, mixed> $event */
    private function line(array $event, int $sequence): string
    {
        $flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE;
        $numbered = array('sequence' => (string) $sequence, 'epoch' => $this->epoch()) + $event;
        $line = json_encode($numbered, $flags);
        if ($line === false) {
            throw new OpenepmJournalException('événement impossible à écrire en JSON : ' . json_last_error_msg());
        }
        if (strlen($line) > self::LINE_BYTES) {
            throw new OpenepmJournalException('rien n\'est noté : ' . OpenepmJournalWords::fault('event-too-large', ''));
        }
        return $line . "\n";
    }

    /** Return the sequence number of a line. */
    public static function sequence(string $line): int
    {
        if (preg_match('/\A\{"sequence":"(\d{1,16})"/', $line, $found) !== 1) {
            throw new OpenepmJournalException('fichier d\'attente abîmé : une ligne n\'a pas de numéro');
        }
        return (int) $found[1];
    }

    /** Return the sequence number of a line of what was set aside; 0 of a line that was cut short. */
    private static function numberAside(string $line): int
    {
        $event = json_decode($line, true)['event'] ?? null;
        return is_string($event) ? self::sequence($event) : 0;
    }

    /** Return the time of a line, as it was written. */
    public static function time(string $line): ?string
    {
        return preg_match('/"time":"([^"]+)"/', $line, $found) === 1 ? $found[1] : null;
    }

    /** @param resource $file */
    private static function sync($file): bool
    {
        // Before PHP 8.1 there is none: a crash of the machine, not of PHP, may then lose its last seconds.
        return function_exists('fsync') ? fsync($file) : fflush($file);
    }

    private static function syncDirectory(string $path): void
    {
        $directory = @fopen($path, 'rb');
        if ($directory !== false) {
            self::sync($directory);
            fclose($directory);
        }
    }
}

/** What the journal asks of an event, but for what it alone knows (the token, the clock, the category, what came before). */
final class OpenepmJournalRules
{
    const SESSION = array('login', 'logout', 'login-failed');
    const READING = array('search', 'list', 'view', 'history', 'attachment', 'print', 'export', 'statistics');
    const WRITING = array('create', 'import', 'copy', 'update', 'attach', 'link', 'assign', 'validate', 'reject', 'sign',
        'close', 'reopen', 'archive', 'restore', 'delete', 'rights', 'password', 'lock', 'unlock', 'transmit');
    // By action: the operations that fit it.
    const ACTIONS = array(
        'access' => array(self::SESSION, self::READING), 'consultation' => array(self::READING),
        'collection' => array(self::WRITING), 'modification' => array(self::WRITING), 'erasure' => array(self::WRITING),
        'disclosure' => array(self::READING, self::WRITING), 'combination' => array(self::READING, self::WRITING),
    );
    const JUSTIFIED = array('consultation', 'disclosure', 'combination');
    const OUTCOMES = array('success', 'denied', 'failure');
    // By place: the most characters of a text, and what it looks like; without, nothing in it is unseen.
    const FIELD = '/\A[A-Za-z\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{17f}_][A-Za-z\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{17f}0-9_.-]*\z/u';
    const TEXTS = array(
        'source' => array(256, '/\A(?:[A-Za-z0-9._~:\/?#\[\]@!$&\'()*+,;=-]|%[0-9A-Fa-f]{2})+\z/'),
        'subject' => array(256, ''),
        'time' => array(64, '/\A\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,6}0*)?([Zz]|[+-]\d\d:\d\d)\z/'),
        'traceparent' => array(55, '/\A(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\z/'),
        'data/act' => array(64, '/\A[A-Za-z0-9._:~-]+\z/'), 'data/justification' => array(2000, ''),
        'data/actor/account' => array(128, ''), 'data/actor/name' => array(128, ''),
        'data/actor/role' => array(128, ''), 'data/actor/unit' => array(128, ''),
        'data/client/address' => array(64, ''), 'data/client/workstation' => array(128, ''),
        'data/client/session' => array(128, ''),
        'data/fields/*' => array(64, self::FIELD), 'data/recipients/*' => array(256, ''),
    );
    const UNSEEN = '/[\x{00}-\x{1f}\x{7f}-\x{9f}\x{ad}\x{34f}\x{61c}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}'
        . '\x{200b}-\x{200f}\x{2028}-\x{202e}\x{2060}-\x{206f}\x{3164}\x{fe00}-\x{fe0f}\x{feff}\x{ffa0}\x{fff0}-\x{fffb}'
        . '\x{e0000}-\x{e0fff}]/u';
    const CONTROLS = '/[\x00-\x08\x0b\x0c\x0e-\x1f]/';  // which prose does not hold either
    const LIST_ITEMS = 100;
    const COUNT = 9007199254740991;

    /**
     * Return what is wrong with an event, as the journal would.
     *
     * @param array<string, mixed> $event
     * @return array<int, array{string, string}> codes and pointers
     */
    public static function check(array $event): array
    {
        $faults = array();
        $kinds = array('data/actor' => 1, 'data/client' => 1, 'data/fields' => 1, 'data/recipients' => 1);
        self::walk($event, '', $kinds, $faults);
        $data = $event['data'];
        $action = substr($event['type'], strlen(OpenepmJournal::TYPE));
        $outcome = $data['outcome'] ?? null;
        $operation = $data['operation'] ?? null;
        if (!in_array($outcome, self::OUTCOMES, true)) {
            $code = $outcome === null ? 'missing' : (is_string($outcome) ? 'unknown-value' : 'wrong-type');
            $faults[] = array($code, '/data/outcome');
        }
        if ($operation !== null && !in_array($operation, array_merge(self::SESSION, self::READING, self::WRITING), true)) {
            $faults[] = array(is_string($operation) ? 'unknown-value' : 'wrong-type', '/data/operation');
        }
        if (!isset(self::ACTIONS[$action])) {
            $faults[] = array('unknown-value', '/type');
            return $faults;
        }
        $isShown = !in_array($outcome, array('denied', 'failure'), true);
        $needs = array(
            '/subject' => isset($event['subject']) || $action === 'access',
            '/data/justification' => isset($data['justification']) || !$isShown || !in_array($action, self::JUSTIFIED, true),
            '/data/recipients' => isset($data['recipients']) || $action !== 'disclosure',
        );
        foreach (array_keys($needs, false, true) as $pointer) {
            $faults[] = array('missing', $pointer);
        }
        $isKnown = in_array($operation, array_merge(self::SESSION, self::READING, self::WRITING), true);
        $fits = in_array($operation, array_merge(...self::ACTIONS[$action]), true)
            && ($operation !== 'login-failed' || $outcome !== 'success');
        return $isKnown && !$fits ? array_merge($faults, array(array('operation', '/data/operation'))) : $faults;
    }

    /** Look at the members of an object or a list. */
    private static function walk(array $members, string $place, array $kinds, array &$faults): void
    {
        foreach ($members as $name => $value) {
            $path = ltrim("$place/$name", '/');
            $rule = self::TEXTS[$path] ?? self::TEXTS[is_int($name) ? "$place/*" : ''] ?? null;
            if ($rule !== null) {
                $code = self::faultOfText($value, $rule[0], $rule[1], $path);
            } elseif ($path === 'data' || isset($kinds[$path])) {
                $isList = substr($path, -1) === 's' && $path !== 'data';
                $code = !is_array($value) ? 'wrong-type' : ($isList && count($value) > self::LIST_ITEMS ? 'too-long' : '');
                if ($code === '') {
                    self::walk($value, $path, $kinds, $faults);
                }
            } elseif ($path === 'data/count') {
                $code = is_int($value) ? ($value < 0 || $value > self::COUNT ? 'out-of-range' : '')
                    : (is_float($value) ? 'out-of-range' : 'wrong-type');
            } else {
                $known = array('specversion', 'id', 'type', 'data/outcome', 'data/operation', 'data/authorisation');
                $code = in_array($path, $known, true) ? '' : 'unknown-member';
            }
            if ($code !== '') {
                $faults[] = array($code, "/$path");
            }
        }
    }

    private static function faultOfText($text, int $most, string $pattern, string $path): string
    {
        if (!is_string($text)) {
            return 'wrong-type';
        }
        // Marks compose with what they follow: the journal may count fewer characters, not more.
        if (preg_match_all('/\P{M}/u', $text) > $most) {
            return 'too-long';
        }
        if ($pattern !== '') {
            $isBare = preg_match('/[\x00-\x1f]/', $text) !== 1;
            return preg_match($pattern, $text) === 1 ? '' : ($isBare ? 'malformed' : 'character');
        }
        $unseen = $path === 'data/justification' ? self::CONTROLS : self::UNSEEN;
        $isBlank = preg_match('/\A\s*\z/u', $text) === 1;
        return preg_match($unseen, $text) === 1 ? 'character' : ($isBlank ? 'blank' : '');
    }
}

/** What the journal says by codes, and what a network says, in French, with what to do about it. */
final class OpenepmJournalWords
{
    // The members that a page gives, by their place in the event.
    const MEMBERS = array(
        '/subject' => 'référence', '/data/justification' => 'motif', '/data/recipients' => 'destinataires',
        '/data/fields' => 'champs', '/data/count' => 'nombre', '/data/operation' => 'opération',
        '/data/outcome' => 'issue', '/data/actor/account' => 'compte', '/data/actor' => 'agent', '/time' => 'heure',
        '/data/act' => 'acte', '/data/client' => 'poste', '/source' => 'source', '/type' => 'type',
    );
    const TYPES = array(
        '/data/recipients' => 'une liste est attendue, comme array(\'Parquet\')',
        '/data/fields' => 'une liste est attendue, comme array(\'faits\')',
        '/data/count' => 'un nombre entier est attendu',
    );
    // Each code of a fault.
    const FAULTS = array(
        'not-json' => 'n\'est pas du JSON',
        'not-utf8' => 'n\'est pas de l\'UTF-8',
        'wrong-type' => 'n\'est pas du type attendu',
        'missing' => 'est exigé',
        'unknown-member' => 'n\'est pas attendu',
        'duplicate-member' => 'est donné deux fois',
        'unknown-value' => 'n\'est pas une des valeurs admises',
        'blank' => 'est vide',
        'too-long' => 'est trop long',
        'out-of-range' => 'est hors des bornes',
        'character' => 'contient un caractère invisible ou de contrôle',
        'malformed' => 'est mal formé',
        'operation' => 'ne va pas avec l\'acte ou son issue',
        'event-too-large' => 'l\'événement est trop grand (16 Kio au plus)',
        'batch-too-large' => 'le lot a trop d\'événements',
        'body-too-large' => 'l\'envoi est trop grand',
        'time-ahead' => 'est dans plus de 5 minutes : l\'horloge de cet hôte, ou l\'option time',
        'source-prefix' => 'ne commence pas par le préfixe du jeton',
        'category-rule' => 'ne suit pas la règle de cette catégorie',
        'time-too-old' => 'est trop ancien : à déclarer perdu',
        'time-purged' => 'est si ancien que son double peut être détruit : à déclarer perdu',
        'id-reused' => 'a déjà servi, la même source et la même heure, à un autre événement : le premier reste',
        'day' => 'ce jour ne peut être demandé',
        'filter' => 'le filtre se contredit',
        'no-person' => 'le jeton ne nomme personne',
        'authorisation' => 'une autorisation est exigée',
        'contract-ended' => 'le contrat de la commune a pris fin',
        'nothing-matches' => 'rien ne correspond',
        'header' => 'en-tête refusé',
        'header-too-large' => 'en-têtes trop grands',
        'parameter' => 'paramètre refusé',
        'length' => 'Content-Length manque',
        'content-type' => 'Content-Type refusé',
        'content-encoding' => 'Content-Encoding refusé',
        'binary-mode' => 'mode binaire refusé',
        'expect' => 'Expect refusé',
    );
    // Why the connector itself sets events aside, and why numbers are lost.
    const ASIDE = array(OpenepmJournalSpool::TOO_OLD => 'trop ancien', OpenepmJournalSpool::GIVEN_UP => 'abandonné (drop)');
    const LOSSES = array(
        OpenepmJournalSpool::TOO_OLD => 'trop anciens', OpenepmJournalSpool::NOT_WRITTEN => 'non écrits',
    );
    // Each kind of problem.
    const KINDS = array(
        'bad-request' => 'requête illisible ; un mandataire l\'a-t-il changée ?',
        'misshapen' => 'un événement ne suit pas le schéma',
        'unauthenticated' => 'jeton refusé : expiré, révoqué ou mal recopié ; mettez-en un autre dans « token_file »',
        'absent' => 'catégorie inconnue de ce jeton : mal écrite, ou sans droit ; demandez le droit, ou `drop`',
        'method' => 'méthode refusée ; un mandataire a-t-il changé la requête ?',
        'timeout' => 'requête arrivée trop lentement ; l\'envoi reprend seul',
        'length-required' => 'Content-Length manque ; un mandataire l\'a-t-il ôté ?',
        'oversize' => 'envoi trop grand',
        'media-type' => 'type d\'envoi refusé ; un mandataire l\'a-t-il changé ?',
        'expectation' => 'attente refusée ; un mandataire l\'a-t-il ajoutée ?',
        'invalid' => 'un événement n\'est pas acceptable',
        'empty' => 'rien ne correspond',
        'purged' => 'un événement est trop ancien',
        'late' => 'un événement arrive trop tard',
        'known' => 'un événement est déjà au journal, autrement',
        'rate' => 'trop d\'envois à la fois ; l\'envoi reprend seul',
        'head-too-large' => 'en-têtes trop grands ; un mandataire en ajoute-t-il ?',
        'internal' => 'le journal a failli ; prévenez son exploitant ; l\'envoi reprend seul',
        'busy' => 'le journal est occupé ; l\'envoi reprend seul',
        'unavailable' => 'le journal est empêché, son exploitant le voit ; l\'envoi reprend seul',
    );
    // What PHP says where there is no answer.
    const NETWORK = array(
        '/getaddrinfo|name or service/i' => 'le nom d\'hôte de « url » est inconnu (DNS) ; vérifiez « url »',
        '/refused/i' => 'connexion refusée : rien n\'écoute au port de « url » ; vérifiez « url », ou le journal est arrêté',
        '/certificate|crypto|SSL/i' => 'TLS échoue ; vérifiez « url », « ca_file » et la date de cet hôte',
        '/unreachable|no route/i' => 'réseau injoignable ; vérifiez la route et le pare-feu de cet hôte',
        '/wrapper/i' => 'PHP ne sait pas ouvrir « url » : https://… demande l\'extension openssl',
    );

    /** Say a fault: which member, what is wrong, its code. */
    public static function fault(string $code, string $pointer): string
    {
        $type = $code === 'wrong-type' ? self::TYPES[$pointer] ?? null : null;
        $told = $type ?? self::FAULTS[$code] ?? 'est refusé';
        $name = self::MEMBERS[$pointer] ?? self::MEMBERS[preg_replace('/\/\d+\z/', '', $pointer)] ?? $pointer;
        return ($name === '' ? '' : "$name : ") . "$told ($code)";
    }

    /** Say why an event was set aside, by the code that either connector wrote down; a text of another as it is. */
    public static function reason(string $reason): string
    {
        list($code, $place) = explode(' ', $reason, 2) + array('', '');
        if ($code === 'source-prefix' && $place !== '') {
            $told = self::fault($code, '/source');
            return "$told : $place ; demandez un jeton de ce préfixe, puis `again --token FICHIER`";
        }
        if ($place !== '') {
            return isset(self::FAULTS[$code]) ? self::fault($code, $place) : $reason;
        }
        return self::ASIDE[$code] ?? (isset(self::FAULTS[$code]) ? self::fault($code, '') : self::KINDS[$code] ?? $reason);
    }

    /** Say why there is no answer, by what PHP has said of it. */
    public static function network(string $said): string
    {
        foreach (self::NETWORK as $pattern => $told) {
            if (preg_match($pattern, $said) === 1) {
                return "aucune réponse : $told";
            }
        }
        return 'aucune réponse : le journal ou le réseau est arrêté, ou lent ; l\'envoi reprend seul';
    }
}

/** Sends one spool to the journal: one process at a time, in order, each batch again until it has an answer. */
final class OpenepmJournalSender
{
    const BATCH_EVENTS = 500;
    const BATCH_BYTES = 1000000;
    const ANSWER_BYTES = 16777216;
    const PROBLEM = 'urn:openepm-journal:problem:';
    // Beyond this the journal may refuse what this clock says.
    const CLOCK_SECONDS = 60;
    const LONGEST_PAUSE_SECONDS = 60;
    const LONGEST_RETRY_AFTER_SECONDS = 300;
    const TIME_OVER = 'le temps donné est écoulé';
    // What the journal may say of events themselves; verdicts: a line is set aside, waits for its time, or all waits.
    const FOR_GOOD = array(400, 409, 413, 422);
    const REFUSED = 'refused';
    const AHEAD = 'ahead';
    const WAITS = 'waits';
    // What is dated further ahead is set aside.
    const AHEAD_SECONDS = 86400;

    /** @var array<string, mixed> */
    private $settings;
    /** @var OpenepmJournalSpool */
    private $spool;
    /** @var array<string, mixed> */
    private $state = array();
    /** @var string receipts that no disk has taken yet */
    private $receipts = '';
    /** @var array{string, string}|null the verdict on all, without asking the journal */
    private $verdict;
    /** @var bool whether what was set aside before is sent */
    private $isBack = false;
    /** @var int how many events were set aside */
    public $aside = 0;

    /** @param array<string, mixed> $settings */
    public function __construct(array $settings, OpenepmJournalSpool $spool)
    {
        $this->settings = $settings;
        $this->spool = $spool;
    }

    /** Send until a moment (Unix time); return what stopped it, or an empty text. */
    public function run(float $until, bool $atOnce = false): string
    {
        return $this->locked('', function () use ($until, $atOnce): string {
            $pause = ($this->state['retry_at'] ?? 0) - microtime(true);
            // A pause longer than any: the clock was put back.
            if (!$atOnce && $pause > 0 && $pause <= self::LONGEST_RETRY_AFTER_SECONDS) {
                return (string) ($this->state['error'] ?? '');
            }
            $this->forget();
            $this->takeDue(microtime(true));
            $stopped = $this->sendAll($until);
            $this->keep($stopped === self::TIME_OVER ? '' : $stopped);
            return $stopped;
        });
    }

    /** Send once more what was set aside; return what stopped it, or an empty text. */
    public function again(float $until): string
    {
        return $this->locked('un autre processus envoie : recommencez', function () use ($until): string {
            $this->spool->takeBack(array($this, 'bringBack'));
            $path = $this->spool->directory . '/' . OpenepmJournalSpool::BACK;
            $stopped = is_file($path) ? $this->sent($path, $until) : '';
            $this->keep($stopped === self::TIME_OVER ? '' : $stopped);
            return $stopped;
        });
    }

    /** Set aside all that waits; return what stopped it, or an empty text. */
    public function drop(): string
    {
        return $this->locked('un autre processus envoie : recommencez', function (): string {
            $this->verdict = array(self::REFUSED, OpenepmJournalSpool::GIVEN_UP);
            $this->takeDue(INF);
            $stopped = $this->sendAll(INF);
            $this->keep($stopped);
            return $stopped;
        });
    }

    /** Do something as the one process that sends; return what it told, or `$busy` where another one does. */
    private function locked(string $busy, callable $act): string
    {
        $lock = $this->spool->lock('send.lock', LOCK_EX | LOCK_NB);
        if ($lock === null) {
            return $busy;
        }
        try {
            $this->state = $this->read();
            return $act();
        } finally {
            fclose($lock);
        }
    }

    /** Put lines in front of what waits, for good. */
    public function bringBack(string $lines): void
    {
        if (!is_file($this->spool->directory . '/' . OpenepmJournalSpool::BACK)) {
            // What was kept of an earlier one would count for these.
            unset($this->state['offsets'][OpenepmJournalSpool::BACK]);
            $this->spool->keepState($this->state);
        }
        $this->spool->add(OpenepmJournalSpool::BACK, $lines);
    }

    /** Put in front of what waits the events whose time has come. */
    private function takeDue(float $now): void
    {
        $lines = $this->spool->kept(OpenepmJournalSpool::AHEAD);
        $due = array_filter($lines, function (string $line) use ($now): bool {
            return strtotime((string) OpenepmJournalSpool::time($line)) <= $now;
        });
        if ($due !== array()) {
            $this->bringBack(implode('', $due));
            $this->spool->replace(OpenepmJournalSpool::AHEAD, implode('', array_diff_key($lines, $due)));
        }
    }

    /** Return what the last run has left: error, since, retry_at, ran_at, acknowledged_at, clock_seconds, offsets. */
    public function read(): array
    {
        $state = json_decode((string) @file_get_contents($this->spool->directory . '/state.json'), true);
        return is_array($state) ? $state : array();
    }

    private function sendAll(float $until): string
    {
        while (($segments = $this->spool->closed()) !== array()) {
            foreach ($segments as $path) {
                $stopped = $this->sent($path, $until);
                if ($stopped !== '') {
                    return $stopped;
                }
            }
        }
        return $this->receipts === '' ? '' : 'des reçus n\'ont pu être gardés (disque plein ?)';
    }

    /** Send a segment and remove it; return what stopped it, or an empty text. */
    private function sent(string $path, float $until): string
    {
        $name = basename($path);
        $this->isBack = $name === OpenepmJournalSpool::BACK;
        $known = $this->state['offsets'] ?? array();
        // What was set aside goes before a segment that may be partly sent; of earlier ones nothing stays.
        $this->state['offsets'] = ($this->isBack ? $known : array_intersect_key($known, array($name => 1)))
            + array($name => 0);
        $file = fopen($path, 'rb');
        if ($file === false) {
            return "$path : illisible";
        }
        fseek($file, (int) $this->state['offsets'][$name]);
        try {
            while (($lines = self::lines($file)) !== array()) {
                $stopped = $this->settle($name, $lines, $until);
                if ($stopped !== '') {
                    return $stopped;
                }
            }
        } finally {
            fclose($file);
        }
        if (!@unlink($path)) {
            return "$path : suppression impossible";
        }
        unset($this->state['offsets'][$name]);
        $this->keepReceipts('');
        return '';
    }

    /**
     * Settle lines in order, run by run: each is acknowledged or set aside, and that is kept; return what stopped it.
     *
     * @param string[] $lines
     */
    private function settle(string $name, array $lines, float $until): string
    {
        $verdicts = $this->verdict === null ? array() : array_fill(0, count($lines), $this->verdict);  // by position
        $most = count($lines);
        for ($done = 0; $done < count($lines); $done += count($run)) {
            if (microtime(true) > $until) {
                return self::TIME_OVER;
            }
            $verdict = $verdicts[$done] ?? null;
            if ($verdict !== null && $verdict[0] === self::WAITS) {
                return $verdict[1];
            }
            $run = array();
            do {
                $run[] = $lines[$done + count($run)];
                $next = $done + count($run);
            } while ($next < count($lines) && count($run) < $most && ($verdicts[$next] ?? null) === $verdict);
            if ($verdict !== null && $verdict[0] === self::AHEAD) {
                $this->spool->add(OpenepmJournalSpool::AHEAD, implode('', $run));
            } elseif ($verdict !== null) {
                $this->setAside($run, $verdict[1]);
            } elseif (($found = $this->ask($run)) !== array()) {
                // Where no fault names an event, each half is sent on its own.
                $most = $found === null ? max(1, intdiv(count($run), 2)) : $most;
                foreach ($found ?? array() as $position => $named) {
                    $verdicts[$done + $position] = $named;
                }
                $run = array();
                continue;
            }
            $this->state['offsets'][$name] += strlen(implode('', $run));
            $this->keep('');
        }
        return '';
    }

    /**
     * Ask the journal to record lines.
     *
     * @param string[] $lines
     * @return array<int, array{string, string}>|null verdicts by position, none if all is acknowledged; null if no line
     *   is named
     */
    private function ask(array $lines): ?array
    {
        list($status, $answer) = $this->post('[' . implode(',', array_map('rtrim', $lines)) . ']');
        if (($status === 200 || $status === 201) && self::acknowledges($answer, $lines)) {
            $this->keepReceipts($answer . "\n");
            $this->state['acknowledged_at'] = gmdate('c');
            return array();
        }
        if ($status === 413 && count($lines) > 1) {
            return null;  // of the journal, or of a proxy before it
        }
        $problem = json_decode($answer, true);
        $problem = is_array($problem) ? $problem : array();
        $kind = self::kind($problem);
        $faults = $problem['faults'] ?? array();
        $isPassing = $faults === array() && ($problem['retryable'] ?? false) === true;
        if ($kind === '' || !in_array($status, self::FOR_GOOD, true) || $isPassing) {
            // Nothing is wrong with the events, or it is not the journal that says so.
            return $this->tooOld($lines) ?: array(array(self::WAITS, $this->why($status, $problem)));
        }
        $verdicts = array();
        foreach ($faults as $fault) {
            $position = $fault['position'] ?? -1;
            if (isset($lines[$position]) && ($verdicts[$position][0] ?? '') !== self::REFUSED) {
                $verdicts[$position] = $this->verdict($fault, $lines[$position]);
            }
        }
        if ($verdicts === array()) {
            return count($lines) > 1 ? null : array(array(self::REFUSED, $kind));
        }
        return $verdicts;
    }

    /**
     * Tell whether an answer holds the journal's receipts, one for each line, in their order. A portal's page, or that of
     * a maintenance, is an answer 200 as well: events leave the spool for receipts alone.
     *
     * @param string[] $lines
     */
    private static function acknowledges(string $answer, array $lines): bool
    {
        $read = json_decode($answer, true);
        $receipts = is_array($read) && is_array($read['receipts'] ?? null) ? array_values($read['receipts']) : array();
        if (count($receipts) !== count($lines)) {
            return false;
        }
        foreach ($lines as $position => $line) {
            $receipt = $receipts[$position];
            $event = json_decode($line, true);
            if (!is_int($receipt['index'] ?? null) || ($receipt['id'] ?? null) !== $event['id']
                || ($receipt['source'] ?? null) !== $event['source']) {
                return false;
            }
        }
        return true;
    }

    /** @return array{string, string} what becomes of a line with this fault, and why; its bytes are kept either way */
    private function verdict(array $fault, string $line): array
    {
        $code = $fault['code'] ?? '';
        $pointer = (string) ($fault['pointer'] ?? '');
        $why = OpenepmJournalWords::fault((string) $code, $pointer);
        $refused = array(self::REFUSED, rtrim("$code $pointer"));
        $event = json_decode($line, true);
        if ($code === 'time-too-old' || $code === 'time-purged') {
            return array(self::REFUSED, OpenepmJournalSpool::TOO_OLD);
        }
        if ($code === 'source-prefix' && $event['source'] === $this->settings['source'] && !$this->isBack) {
            // So are all: the token or the setting is wrong, not the event.
            return array(self::WAITS, "jeton et réglage « source » ne vont pas ensemble : $why ; corrigez l'un des deux");
        }
        if ($code === 'source-prefix') {
            // The setting was mended since: its bytes stay, and a token of its prefix sends it.
            return array(self::REFUSED, rtrim("$code {$event['source']}"));
        }
        if (($fault['retryable'] ?? false) === true) {
            $ahead = strtotime((string) $event['time']) - time();
            if ($code !== 'time-ahead' || $ahead <= self::CLOCK_SECONDS) {
                // Time passes, or this host's clock, which all events have theirs from, is put right.
                return array(self::WAITS, $this->why(0, array('detail' => "réponse 422 : $why")));
            }
            if ($ahead < self::AHEAD_SECONDS) {
                return array(self::AHEAD, '');
            }
        }
        return $refused;
    }

    /** @return array<int, array{string, string}> the lines that waited for too long, as far as this clock is right */
    private function tooOld(array $lines): array
    {
        if (abs($this->state['clock_seconds'] ?? 0) > self::CLOCK_SECONDS) {
            return array();
        }
        $oldest = gmdate('Y-m-d\TH:i:s', time() - 86400 * (int) $this->settings['max_age_days']);
        $old = array_filter($lines, function (string $line) use ($oldest): bool {
            return strcmp(OpenepmJournalSpool::time($line) ?? '~', $oldest) < 0;
        });
        return array_fill_keys(array_keys($old), array(self::REFUSED, OpenepmJournalSpool::TOO_OLD));
    }

    /** @param string[] $lines */
    private function setAside(array $lines, string $reason): void
    {
        $flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE;
        $kept = '';
        foreach ($lines as $line) {
            $noted = array('at' => gmdate('c'), 'reason' => $reason, 'event' => rtrim($line));
            $kept .= json_encode($noted, $flags) . "\n";
        }
        $this->spool->add('quarantine-' . gmdate('Y-m-d') . '.ndjson', $kept);
        if ($reason === OpenepmJournalSpool::TOO_OLD) {
            $first = OpenepmJournalSpool::sequence($lines[0]);
            $this->spool->noteLoss($first, OpenepmJournalSpool::sequence(end($lines)), $reason, '');
        }
        $count = count($lines);
        $this->aside += $count;
        $told = OpenepmJournalWords::reason($reason);
        error_log("openepm-journal: {$this->spool->category} : refusé et mis de côté ($count) : $told");
    }

    /** Keep receipts, now or when a segment that was sent has made room for them: events go first. */
    private function keepReceipts(string $receipts): void
    {
        $this->receipts .= $receipts;
        try {
            if ($this->receipts !== '') {
                $this->spool->add('receipts-' . gmdate('Y-m-d') . '.ndjson', $this->receipts);
            }
            $this->receipts = '';
        } catch (OpenepmJournalException $error) {
            return;
        }
    }

    /** @return array{int, string} status (0 without an answer) and body */
    private function post(string $body): array
    {
        $token = trim((string) @file_get_contents((string) $this->settings['token_file']));
        if ($token === '') {
            return array(0, '{"detail":"jeton illisible (token_file)"}');
        }
        if (!ini_get('allow_url_fopen')) {
            return array(0, '{"detail":"allow_url_fopen est désactivé dans php.ini : l\'envoi en a besoin"}');
        }
        $ssl = $this->settings['ca_file'] !== '' ? array('cafile' => $this->settings['ca_file']) : array();
        $context = stream_context_create(array(
            'http' => array(
                'method' => 'POST',
                'protocol_version' => '1.1',
                'header' => "Authorization: Bearer $token\r\nContent-Type: application/cloudevents-batch+json\r\n"
                    . 'Content-Length: ' . strlen($body) . "\r\nConnection: close\r\n",
                'content' => $body,
                'ignore_errors' => true,
                'follow_location' => 0,
                'timeout' => (float) $this->settings['timeout_seconds'],
                'user_agent' => 'openepm-journal-php/' . OpenepmJournal::VERSION,
            ),
            'ssl' => $ssl,
        ));
        $url = rtrim($this->settings['url'], '/') . '/v1/categories/' . $this->spool->category . '/events';
        $before = ini_set('default_socket_timeout', (string) $this->settings['timeout_seconds']);
        $said = '';
        set_error_handler(function (int $level, string $message) use (&$said): bool {
            $said .= $message . "\n";
            return true;
        });
        $stream = fopen($url, 'rb', false, $context);
        restore_error_handler();
        ini_set('default_socket_timeout', (string) $before);
        $answer = $stream === false ? '' : (string) stream_get_contents($stream, self::ANSWER_BYTES);
        $about = $stream === false ? array('timed_out' => true) : stream_get_meta_data($stream);
        if ($about['timed_out']) {
            return array(0, (string) json_encode(array('detail' => OpenepmJournalWords::network($said))));
        }
        $status = 0;
        foreach ($about['wrapper_data'] as $header) {
            if (preg_match('/\AHTTP\/\S+ (\d{3})/', $header, $found) === 1) {
                $status = (int) $found[1];
            } elseif (stripos($header, 'Date:') === 0 && ($date = strtotime(substr($header, 5))) !== false) {
                $this->state['clock_seconds'] = time() - $date;
            } elseif (stripos($header, 'Retry-After:') === 0) {
                $this->state['retry_after'] = (int) trim(substr($header, 12));
            }
        }
        return array($status, $answer);
    }

    /** Return what stopped the sending, and what to do about it. */
    private function why(int $status, array $problem): string
    {
        $clock = abs((int) ($this->state['clock_seconds'] ?? 0));
        $clockTold = $clock > self::CLOCK_SECONDS ? " ; l'horloge de cet hôte s'écarte de $clock s" : '';
        if ($status === 0) {
            return $problem['detail'] . $clockTold;
        }
        $path = trim((string) parse_url($this->settings['url'], PHP_URL_PATH), '/');
        $kind = self::kind($problem);
        if ($kind === '') {
            $told = "réponse $status, d'autre chose que le journal, à sa place (portail, mandataire, maintenance ?) ; "
                . 'tout attend ; vérifiez « url » et le réseau';
        } elseif ($kind === 'absent' && $path !== '') {
            $told = "réponse $status : « url » finit par /$path ; ôtez-le, l'adresse seule suffit";
        } else {
            $told = "réponse $status : " . (OpenepmJournalWords::KINDS[$kind] ?? 'refus');
        }
        return $told . $clockTold;
    }

    /** @return string the kind of a problem of the journal; empty if something else answered */
    private static function kind(array $problem): string
    {
        $type = $problem['type'] ?? '';
        $isOurs = is_string($type) && strpos($type, self::PROBLEM) === 0;
        return $isOurs ? substr($type, strlen(self::PROBLEM)) : '';
    }

    private function keep(string $error): void
    {
        if ($error === '') {
            unset($this->state['error'], $this->state['since'], $this->state['retry_at'], $this->state['pause']);
        } else {
            $this->state['pause'] = min(self::LONGEST_PAUSE_SECONDS, max(1, 2 * (int) ($this->state['pause'] ?? 0)));
            $asked = min(self::LONGEST_RETRY_AFTER_SECONDS, (int) ($this->state['retry_after'] ?? 0));
            $this->state['retry_at'] = microtime(true) + max($this->state['pause'], $asked);
            $this->state['error'] = $error;
            $this->state += array('since' => gmdate('c'));
        }
        unset($this->state['retry_after']);
        $this->state['ran_at'] = gmdate('c');
        $this->spool->keepState($this->state);
    }

    /** Remove what is older than its settings say. */
    private function forget(): void
    {
        $kinds = array('receipts' => 'receipts_days', 'quarantine' => 'quarantine_days', 'declared' => 'quarantine_days');
        foreach ($kinds as $kind => $setting) {
            $oldest = $kind . '-' . gmdate('Y-m-d', time() - 86400 * (int) $this->settings[$setting]);
            foreach (glob($this->spool->directory . "/$kind-*.ndjson") ?: array() as $path) {
                if (strcmp(basename($path), $oldest) < 0) {
                    unlink($path);
                }
            }
        }
    }

    /** @param resource $file @return string[] */
    private static function lines($file): array
    {
        $lines = array();
        $bytes = 0;
        while (count($lines) < self::BATCH_EVENTS && $bytes < self::BATCH_BYTES && ($line = fgets($file)) !== false) {
            $lines[] = $line;
            $bytes += strlen($line);
        }
        return $lines;
    }
}
