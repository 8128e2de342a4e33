<?php
/**
 * Connector of OpenEPM's modules to the access journal: one file, PHP 7.4 or later, no dependency.
 *
 * A page records an event into a local spool (no network); `flush`, by cron, systemd or after the response, sends
 * what the spool holds, in order and byte for byte, until the journal has acknowledged it. LISEZMOI.md says how to use it.
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
        'max_age_days' => 6,        // the journal refuses what is too old (7 days unless its operator chose otherwise)
        'receipts_days' => 70,      // how long receipts are kept; they hold nothing personal
        'timeout_seconds' => 5,
        'strict' => false,          // true: an event that cannot be spooled is an exception, and the page shall stop
    );

    /** @param array<string, mixed> $settings see SETTINGS */
    public function __construct(array $settings)
    {
        $unknown = array_diff(array_keys($settings), array_keys(self::SETTINGS));
        if ($unknown !== array()) {
            throw new OpenepmJournalException('réglage inconnu : ' . implode(', ', $unknown));
        }
        $this->settings = array_merge(self::SETTINGS, $settings);
        foreach (self::SETTINGS as $name => $default) {
            if ($default === null && !is_string($this->settings[$name])) {
                throw new OpenepmJournalException("réglage manquant : $name");
            }
        }
        if (!in_array($this->settings['send'], array('later', 'after-response'), true)) {
            throw new OpenepmJournalException('send vaut later ou after-response');
        }
    }

    /** Read the settings from an INI file. */
    public static function fromFile(string $path): self
    {
        $settings = is_readable($path) ? parse_ini_file($path, false, INI_SCANNER_TYPED) : false;
        if ($settings === false) {
            throw new OpenepmJournalException("$path : fichier de réglages illisible");
        }
        return new self($settings);
    }

    /**
     * Say who acts in what follows.
     *
     * @param array<string, string> $about name, role, unit
     * @param array<string, string> $client address, workstation, session
     */
    public function agent(string $account, array $about = array(), array $client = array()): self
    {
        $this->actor = array('account' => self::text($account)) + array_map(array(self::class, 'text'), $about);
        if ($client === array() && isset($_SERVER['REMOTE_ADDR'])) {
            $client = array('address' => (string) $_SERVER['REMOTE_ADDR']);
        }
        $this->client = array_map(array(self::class, 'text'), $client);
        return $this;
    }

    /** A sheet was shown. */
    public function consultation(string $reference, string $motif, array $options = array()): bool
    {
        return $this->record('consultation', 'view', $reference, array('justification' => $motif), $options);
    }

    /** A sheet was printed or turned into a PDF. */
    public function impression(string $reference, string $motif, array $options = array()): bool
    {
        return $this->record('consultation', 'print', $reference, array('justification' => $motif), $options);
    }

    /** A sheet was taken out of the software as a file (CSV, spreadsheet). */
    public function export(string $reference, string $motif, array $options = array()): bool
    {
        return $this->record('consultation', 'export', $reference, array('justification' => $motif), $options);
    }

    /** An attached document was opened. */
    public function pieceJointe(string $reference, string $motif, array $options = array()): bool
    {
        return $this->record('consultation', 'attachment', $reference, array('justification' => $motif), $options);
    }

    /** A sheet was written for the first time. */
    public function creation(string $reference, array $options = array()): bool
    {
        return $this->record('collection', 'create', $reference, array(), $options);
    }

    /** A sheet was changed; option `fields`: the names of the fields, never their values. */
    public function modification(string $reference, array $options = array()): bool
    {
        return $this->record('modification', 'update', $reference, array(), $options);
    }

    /** A sheet was validated, or signed. */
    public function validation(string $reference, array $options = array()): bool
    {
        return $this->record('modification', 'validate', $reference, array(), $options);
    }

    /** Rights of an account were changed; the reference is the account. */
    public function droits(string $reference, array $options = array()): bool
    {
        return $this->record('modification', 'rights', $reference, array(), $options);
    }

    /** A sheet was removed. */
    public function suppression(string $reference, array $options = array()): bool
    {
        return $this->record('erasure', 'delete', $reference, array(), $options);
    }

    /**
     * A sheet was given to somebody outside (prosecutor, other service).
     *
     * @param string[] $recipients
     */
    public function communication(string $reference, array $recipients, string $motif, array $options = array()): bool
    {
        $data = array('justification' => $motif, 'recipients' => array_map(array(self::class, 'text'), $recipients));
        return $this->record('disclosure', 'transmit', $reference, $data, $options);
    }

    /**
     * Sheets were brought together; one entry for each, joined by `act`, so that each can be withheld on its own.
     *
     * @param string[] $references
     */
    public function rapprochement(array $references, string $motif, array $options = array()): bool
    {
        $act = bin2hex(random_bytes(8));
        $all = true;
        foreach ($references as $reference) {
            $data = array('justification' => $motif, 'act' => $act, 'count' => count($references));
            $all = $this->record('combination', null, $reference, $data, $options) && $all;
        }
        return $all;
    }

    /** A search was made; its criteria stay out. */
    public function recherche(int $count, array $options = array()): bool
    {
        return $this->record('access', 'search', null, array('count' => $count), $options);
    }

    /** A list was shown. */
    public function liste(int $count, array $options = array()): bool
    {
        return $this->record('access', 'list', null, array('count' => $count), $options);
    }

    /** Statistics were computed. */
    public function statistiques(array $options = array()): bool
    {
        return $this->record('access', 'statistics', null, array(), $options);
    }

    /** Somebody signed in. */
    public function connexion(array $options = array()): bool
    {
        return $this->record('access', 'login', null, array(), $options);
    }

    /** Somebody signed out. */
    public function deconnexion(array $options = array()): bool
    {
        return $this->record('access', 'logout', null, array(), $options);
    }

    /** Somebody failed to sign in; never give the password. */
    public function echecConnexion(array $options = array()): bool
    {
        return $this->record('access', 'login-failed', null, array(), $options + array('outcome' => 'failure'));
    }

    /**
     * Record an act; every method above ends here.
     *
     * @param array<string, mixed> $data members of `data`
     * @param array<string, mixed> $options category, outcome (success, denied, failure), fields, count, traceparent, time
     * @return bool whether it is in the spool; false after a fault that PHP's error log tells
     */
    public function record(string $action, ?string $operation, ?string $reference, array $data, array $options): bool
    {
        try {
            $category = (string) ($options['category'] ?? $this->settings['category']);
            $this->spool($category)->append($this->event($action, $operation, $reference, $data, $options));
        } catch (OpenepmJournalException $error) {
            error_log('openepm-journal: ' . $error->getMessage());
            if ($this->settings['strict']) {
                throw $error;
            }
            return false;
        }
        $this->sendAfterResponse();
        return true;
    }

    /** Return the spool of a category. */
    public function spool(string $category): OpenepmJournalSpool
    {
        if (preg_match('/\A[a-z0-9][a-z0-9-]{0,62}\z/', $category) !== 1) {
            throw new OpenepmJournalException('catégorie mal formée');
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
        foreach (glob($this->settings['spool'] . '/*', GLOB_ONLYDIR) ?: array() as $directory) {
            $found[] = $this->spool(basename($directory));
        }
        return $found;
    }

    /**
     * Send what the spools hold, for some seconds at most.
     *
     * @return array<string, string> by category, what stopped it; empty if all is acknowledged
     */
    public function flush(float $seconds = 50.0): array
    {
        $until = microtime(true) + $seconds;
        $stopped = array();
        foreach ($this->spools() as $spool) {
            try {
                $reason = (new OpenepmJournalSender($this->settings, $spool))->run($until);
            } catch (OpenepmJournalException $error) {
                $reason = $error->getMessage();
            }
            if ($reason !== '') {
                $stopped[$spool->category] = $reason;
            }
        }
        return $stopped;
    }

    /**
     * Return the health of each category: waiting (events), oldest (RFC 3339), bytes, aside, losses (first, last, reason),
     * epoch, error, since, acknowledged_at, clock_seconds.
     *
     * @return array<string, array<string, mixed>>
     */
    public function health(): array
    {
        $health = array();
        foreach ($this->spools() as $spool) {
            $state = (new OpenepmJournalSender($this->settings, $spool))->read();
            $health[$spool->category] = $spool->measure($state) + array_diff_key(
                $state,
                array('segment' => 1, 'offset' => 1, 'retry_at' => 1, 'pause' => 1)
            );
        }
        return $health;
    }

    /** @return array<string, mixed> */
    private function event(string $action, ?string $operation, ?string $reference, array $data, array $options): array
    {
        $actor = $options['actor'] ?? $this->actor;
        if ($actor === null) {
            throw new OpenepmJournalException('aucun agent : appelez agent() avant');
        }
        $known = array('category', 'outcome', 'fields', 'count', 'traceparent', 'time', 'actor');
        $unknown = array_diff(array_keys($options), $known);
        if ($unknown !== array()) {
            throw new OpenepmJournalException('option inconnue : ' . implode(', ', $unknown));
        }
        $data += array_intersect_key($options, array('fields' => 1, 'count' => 1));
        $data += array('actor' => $actor, 'outcome' => $options['outcome'] ?? 'success');
        if ($this->client !== array()) {
            $data['client'] = $this->client;
        }
        if ($operation !== null) {
            $data['operation'] = $operation;
        }
        if (isset($data['justification'])) {
            $data['justification'] = self::text((string) $data['justification']);
            if ($data['justification'] === '') {
                unset($data['justification']);
            }
        }
        $event = array(
            'specversion' => '1.0',
            'id' => bin2hex(random_bytes(16)),
            'source' => $this->settings['source'],
            'type' => self::TYPE . $action,
            'time' => $options['time'] ?? self::now(),
            'data' => $data,
        );
        if ($reference !== null) {
            $event['subject'] = self::text($reference);
        }
        if (isset($options['traceparent'])) {
            $event['traceparent'] = $options['traceparent'];
        }
        return $event;
    }

    /** Return the moment, to the microsecond; an event keeps it however often it is sent. */
    public static function now(): string
    {
        return (new DateTimeImmutable('now', new DateTimeZone('UTC')))->format('Y-m-d\TH:i:s.u\Z');
    }

    /** Return a text in UTF-8; what is not is taken for Windows-1252, which Latin-1 pages use. */
    public static function text(string $text): string
    {
        if (preg_match('//u', $text) === 1) {
            return trim($text);
        }
        $converted = function_exists('iconv') ? @iconv('Windows-1252', 'UTF-8//IGNORE', $text) : false;
        return trim($converted !== false ? $converted : (string) preg_replace('/[^\x20-\x7e]/', '?', $text));
    }

    private function sendAfterResponse(): void
    {
        if ($this->sends || $this->settings['send'] !== 'after-response') {
            return;
        }
        $this->sends = true;
        register_shutdown_function(function (): void {
            // Only here has the browser its page: elsewhere sending would be in the page's time.
            if (!function_exists('fastcgi_finish_request')) {
                return;
            }
            fastcgi_finish_request();
            try {
                $this->flush((float) $this->settings['timeout_seconds']);
            } catch (OpenepmJournalException $error) {
                error_log('openepm-journal: ' . $error->getMessage());
            }
        });
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
    const TAIL_BYTES = 131072;

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
        $this->prepare();
        $lock = $this->lock('write.lock', LOCK_EX);
        try {
            $segments = $this->segments();
            $path = $segments === array() ? $this->start(1) : end($segments);
            $next = $this->next($path);
            list($count, $first, $since) = $this->lost();
            try {
                $this->write($path, $this->line($event, $next), true);
            } catch (OpenepmJournalException $error) {
                $this->lose($count + 1, $count > 0 ? $first : $next, $count > 0 ? $since : $event['time']);
                throw $error;
            }
            if ($count > 0) {
                $this->noteLoss($first, $first + $count - 1, 'attente pleine', $since);
                $this->lose(0, 0, '');
            }
        } finally {
            fclose($lock);
        }
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
            $this->mend($last);
            $size = filesize($last);
            if ($size > 0 && (count($segments) === 1 || $size >= self::SEGMENT_BYTES)) {
                $this->start($this->next($last));
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
        if ($file === false || @fwrite($file, $content) !== strlen($content) || !fflush($file)) {
            throw new OpenepmJournalException("$path : écriture impossible");
        }
        self::sync($file);
        fclose($file);
        @chmod($temporary, 0600);
        if (!@rename($temporary, $path)) {
            throw new OpenepmJournalException("$path : écriture impossible");
        }
    }

    /** Add lines to a file, for good. */
    public function add(string $name, string $lines): void
    {
        $this->write($this->directory . '/' . $name, $lines, false);
    }

    private function prepare(): void
    {
        if (is_file($this->directory . '/lost')) {
            return;
        }
        if (!is_dir($this->directory) && !@mkdir($this->directory, 0700, true) && !is_dir($this->directory)) {
            throw new OpenepmJournalException($this->directory . ' : le répertoire d\'attente ne peut être créé');
        }
        @chmod($this->directory, 0700);
        $this->replace('epoch', gmdate('Ymd') . '-' . bin2hex(random_bytes(4)) . "\n");
        // Its blocks are taken now, so that a loss can be noted on a full disk; the last file to appear.
        $this->replace('lost', str_pad('0 0 -', self::LOST_BYTES) . "\n");
    }

    private function start(int $first): string
    {
        $path = $this->directory . '/' . sprintf('%016d', $first) . '.ndjson';
        $file = @fopen($path, 'ab');
        if ($file === false) {
            throw new OpenepmJournalException($this->directory . ' : le fichier d\'attente ne peut être créé');
        }
        self::sync($file);
        fclose($file);
        @chmod($path, 0600);
        return $path;
    }

    /** Return the number that follows what a segment holds and what was lost since; an unfinished line is cut off. */
    private function next(string $path): int
    {
        $this->mend($path);
        $next = (int) basename($path, '.ndjson');
        $last = $this->lastLine($path);
        if ($last !== '') {
            $next = self::sequence($last) + 1;
        }
        list($count, $first) = $this->lost();
        return $count > 0 ? max($next, $first + $count) : $next;
    }

    private function lastLine(string $path): string
    {
        $size = (int) filesize($path);
        $start = max(0, $size - self::TAIL_BYTES);
        $tail = rtrim((string) file_get_contents($path, false, null, $start), "\n");
        $end = strrpos($tail, "\n");
        return $end === false ? $tail : substr($tail, $end + 1);
    }

    /** Cut off a line that a killed process has not ended; nobody was told that it was recorded. */
    private function mend(string $path): void
    {
        clearstatcache(true, $path);
        $size = (int) filesize($path);
        if ($size === 0) {
            return;
        }
        $start = max(0, $size - self::TAIL_BYTES);
        $tail = (string) file_get_contents($path, false, null, $start);
        if (substr($tail, -1) === "\n") {
            return;
        }
        $end = strrpos($tail, "\n");
        $file = fopen($path, 'r+b');
        if ($file === false || !ftruncate($file, $end === false ? $start : $start + $end + 1)) {
            throw new OpenepmJournalException("$path : ligne inachevée");
        }
        fclose($file);
        clearstatcache(true, $path);
    }

    private function write(string $path, string $lines, bool $isBounded): void
    {
        if ($isBounded && $this->bytes() + strlen($lines) > $this->limit) {
            throw new OpenepmJournalException($this->directory . ' : attente pleine (max_mib) ; l\'envoi est-il arrêté ?');
        }
        $file = @fopen($path, 'ab');
        if ($file === false) {
            throw new OpenepmJournalException("$path : écriture impossible");
        }
        @chmod($path, 0600);
        $before = (int) fstat($file)['size'];
        $written = @fwrite($file, $lines);
        if ($written !== strlen($lines) || !fflush($file) || !self::sync($file)) {
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
     * @return array<string, mixed> waiting, oldest, bytes, aside, losses, epoch
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
            fseek($file, ($state['segment'] ?? '') === basename($path) ? (int) $state['offset'] : 0);
            while (($line = fgets($file)) !== false) {
                $waiting++;
                if ($oldest === null && preg_match('/"time":"([^"]+)"/', $line, $found) === 1) {
                    $oldest = $found[1];
                }
            }
            fclose($file);
        }
        $aside = @file($this->directory . '/quarantine.ndjson') ?: array();
        $losses = array_map('json_decode', @file($this->directory . '/losses.ndjson') ?: array());
        list($count, $first, $since) = $this->lost();
        if ($count > 0) {
            $losses[] = (object) array('first' => $first, 'last' => $first + $count - 1, 'reason' => 'attente pleine');
        }
        return array('waiting' => $waiting, 'oldest' => $oldest, 'bytes' => $this->bytes(), 'aside' => count($aside),
            'losses' => array_values(array_filter($losses)), 'epoch' => $this->epoch());
    }

    private function lose(int $count, int $first, string $since): void
    {
        $text = $count > 0 ? "$count $first $since" : '0 0 -';
        $file = @fopen($this->directory . '/lost', 'r+b');
        if ($file === false || fwrite($file, str_pad($text, self::LOST_BYTES)) !== self::LOST_BYTES) {
            error_log('openepm-journal: perte non consignée');
            return;
        }
        fflush($file);
        self::sync($file);
        fclose($file);
    }

    /** @param array<string, mixed> $event */
    private function line(array $event, int $sequence): string
    {
        $flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES;
        $numbered = array('sequence' => (string) $sequence, 'epoch' => $this->epoch()) + $event;
        $line = json_encode($numbered, $flags);
        if ($line === false) {
            throw new OpenepmJournalException('événement impossible à écrire en JSON : ' . json_last_error_msg());
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

    /** @param resource $file */
    private static function sync($file): bool
    {
        // Before PHP 8.1 there is none: a crash of the machine, not of PHP, may then lose its last seconds.
        return !function_exists('fsync') || fsync($file);
    }
}

/** Sends one spool to the journal: one process at a time, in order, each batch again until it has an answer. */
final class OpenepmJournalSender
{
    const BATCH_EVENTS = 500;
    const BATCH_BYTES = 1048576;
    // Beyond this the journal may refuse what this clock says.
    const CLOCK_SECONDS = 60;

    /** @var array<string, mixed> */
    private $settings;
    /** @var OpenepmJournalSpool */
    private $spool;
    /** @var array<string, mixed> */
    private $state = array();

    /** @param array<string, mixed> $settings */
    public function __construct(array $settings, OpenepmJournalSpool $spool)
    {
        $this->settings = $settings;
        $this->spool = $spool;
    }

    /** Send until a moment (Unix time); return what stopped it, or an empty text. */
    public function run(float $until): string
    {
        $lock = $this->spool->lock('send.lock', LOCK_EX | LOCK_NB);
        if ($lock === null) {
            return '';  // another process sends
        }
        try {
            $this->state = $this->read();
            if (($this->state['retry_at'] ?? 0) > microtime(true)) {
                return (string) ($this->state['error'] ?? '');
            }
            $stopped = '';
            while ($stopped === '' && ($segments = $this->spool->closed()) !== array()) {
                foreach ($segments as $path) {
                    $stopped = $this->segment($path, $until);
                    if ($stopped !== '') {
                        break;
                    }
                    unlink($path);
                }
            }
            $this->keep($stopped);
            $this->forget();
            return $stopped;
        } finally {
            fclose($lock);
        }
    }

    /** Return what the last run has left: error, since, retry_at, acknowledged_at, clock_seconds, segment, offset. */
    public function read(): array
    {
        $state = json_decode((string) @file_get_contents($this->spool->directory . '/state.json'), true);
        return is_array($state) ? $state : array();
    }

    private function segment(string $path, float $until): string
    {
        $name = basename($path);
        $offset = ($this->state['segment'] ?? '') === $name ? (int) $this->state['offset'] : 0;
        $file = fopen($path, 'rb');
        if ($file === false) {
            return "$path : illisible";
        }
        fseek($file, $offset);
        try {
            while (($lines = self::lines($file)) !== array()) {
                if (microtime(true) > $until) {
                    return 'le temps donné est écoulé';
                }
                $stopped = $this->send($lines);
                if ($stopped !== '') {
                    return $stopped;
                }
                $offset += strlen(implode('', $lines));
                $this->state['segment'] = $name;
                $this->state['offset'] = $offset;
                $this->keep('');
            }
        } finally {
            fclose($file);
        }
        return '';
    }

    /** Send lines until each is acknowledged or set aside; return what stopped it. @param string[] $lines */
    private function send(array $lines): string
    {
        $lines = $this->recent($lines);
        while ($lines !== array()) {
            $batch = '[' . implode(',', array_map('rtrim', $lines)) . ']';
            list($status, $answer) = $this->post($batch);
            if ($status === 200 || $status === 201) {
                $this->spool->add('receipts-' . gmdate('Y-m-d') . '.ndjson', $answer . "\n");
                $this->state['acknowledged_at'] = gmdate('c');
                return '';
            }
            $problem = json_decode($answer, true);
            $problem = is_array($problem) ? $problem : array();
            if (!in_array($status, array(400, 409, 413, 422), true) || $this->isClock($problem)) {
                return $this->why($status, $problem);
            }
            $refused = $this->refused($lines, $problem);
            if ($refused === array()) {
                // No fault names an event: each half is sent on its own.
                $half = intdiv(count($lines), 2);
                $stopped = $this->send(array_slice($lines, 0, $half));
                if ($stopped !== '') {
                    return $stopped;
                }
                $lines = array_slice($lines, $half);
                continue;
            }
            foreach ($refused as $position => $reason) {
                $this->setAside($lines[$position], $reason);
                unset($lines[$position]);
            }
            $lines = array_values($lines);
        }
        return '';
    }

    /** @return string[] of lines, those that the journal still takes; the others are noted as lost */
    private function recent(array $lines): array
    {
        $oldest = gmdate('Y-m-d\TH:i:s', time() - 86400 * (int) $this->settings['max_age_days']);
        $late = array_filter($lines, function (string $line) use ($oldest): bool {
            return preg_match('/"time":"([^"]+)"/', $line, $found) === 1 && strcmp($found[1], $oldest) < 0;
        });
        if ($late === array()) {
            return $lines;
        }
        $runs = array();
        foreach ($late as $line) {
            $number = OpenepmJournalSpool::sequence($line);
            $last = end($runs);
            if ($last !== false && $last[1] === $number - 1) {
                $runs[count($runs) - 1][1] = $number;
            } else {
                $runs[] = array($number, $number);
            }
            $this->setAside($line, 'trop ancien');
        }
        foreach ($runs as $run) {
            $this->spool->noteLoss($run[0], $run[1], 'trop anciens', '');
        }
        return array_values(array_diff_key($lines, $late));
    }

    /** @return array<int, string> by position, why an event is refused for good */
    private function refused(array $lines, array $problem): array
    {
        $refused = array();
        foreach ($problem['faults'] ?? array() as $fault) {
            if (isset($fault['position'], $lines[$fault['position']])) {
                $refused[$fault['position']] = ($fault['pointer'] ?? '') . ' ' . ($fault['reason'] ?? '');
            }
        }
        if ($refused === array() && count($lines) === 1) {
            $refused[0] = (string) ($problem['detail'] ?? 'refusé');
        }
        return $refused;
    }

    private function isClock(array $problem): bool
    {
        // A clock ahead is put right, or time passes: nothing is wrong with the events.
        return ($problem['status'] ?? 0) === 422 && ($this->state['clock_seconds'] ?? 0) > self::CLOCK_SECONDS;
    }

    private function setAside(string $line, string $reason): void
    {
        $flags = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES;
        $kept = json_encode(array('at' => gmdate('c'), 'reason' => trim($reason), 'event' => rtrim($line)), $flags);
        $this->spool->add('quarantine.ndjson', $kept . "\n");
        error_log('openepm-journal: ' . $this->spool->category . ' : un événement est refusé et mis de côté : ' . $reason);
    }

    /** @return array{int, string} status (0 without an answer) and body */
    private function post(string $body): array
    {
        $token = trim((string) @file_get_contents((string) $this->settings['token_file']));
        if ($token === '') {
            return array(0, '{"detail":"jeton illisible (token_file)"}');
        }
        $ssl = $this->settings['ca_file'] !== '' ? array('cafile' => $this->settings['ca_file']) : array();
        $context = stream_context_create(array(
            'http' => array(
                'method' => 'POST',
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
        $http_response_header = array();
        $answer = @file_get_contents($url, false, $context);
        ini_set('default_socket_timeout', (string) $before);
        $headers = $http_response_header;
        if ($answer === false || $headers === array()) {
            return array(0, '{"detail":"aucune réponse"}');
        }
        foreach ($headers as $header) {
            if (stripos($header, 'Date:') === 0 && ($date = strtotime(substr($header, 5))) !== false) {
                $this->state['clock_seconds'] = time() - $date;
            }
            if (stripos($header, 'Retry-After:') === 0) {
                $this->state['retry_after'] = (int) trim(substr($header, 12));
            }
        }
        preg_match('/\AHTTP\/\S+ (\d{3})/', $headers[0], $found);
        return array((int) ($found[1] ?? 0), $answer);
    }

    private function why(int $status, array $problem): string
    {
        $detail = (string) ($problem['detail'] ?? '');
        $clock = abs((int) ($this->state['clock_seconds'] ?? 0));
        $told = $clock > self::CLOCK_SECONDS ? " ; l'horloge de cet hôte s'écarte de $clock s" : '';
        if ($status === 401 || $status === 403 || $status === 404) {
            return "jeton refusé ($status) : expiré, révoqué, ou sans droit sur {$this->spool->category}$told";
        }
        return ($status === 0 ? $detail : "réponse $status : $detail") . $told;
    }

    private function keep(string $error): void
    {
        if ($error === '') {
            unset($this->state['error'], $this->state['since'], $this->state['retry_at'], $this->state['pause']);
        } else {
            $this->state['pause'] = min(60, max(1, 2 * (int) ($this->state['pause'] ?? 0)));
            $pause = max($this->state['pause'], (int) ($this->state['retry_after'] ?? 0));
            $this->state['retry_at'] = microtime(true) + $pause;
            $this->state['error'] = $error;
            $this->state += array('since' => gmdate('c'));
        }
        unset($this->state['retry_after']);
        $this->spool->replace('state.json', (string) json_encode($this->state, JSON_UNESCAPED_UNICODE));
    }

    private function forget(): void
    {
        $oldest = 'receipts-' . gmdate('Y-m-d', time() - 86400 * (int) $this->settings['receipts_days']);
        foreach (glob($this->spool->directory . '/receipts-*.ndjson') ?: array() as $path) {
            if (strcmp(basename($path), $oldest) < 0) {
                unlink($path);
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
