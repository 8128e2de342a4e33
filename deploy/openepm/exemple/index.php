<?php
/**
 * Sample module: a main courante of a few lines, to show where the calls to the journal go. An act that cannot be
 * journaled is not done: each call comes first, and what it returns decides.
 *
 *     OPENEPM_JOURNAL=/etc/openepm/journal.ini php -S 127.0.0.1:8471 -t deploy/openepm/exemple
 *
 * @license GPL-3.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/../OpenepmJournal.php';

$journal = OpenepmJournal::fromFile();
// A real module has its accounts, and their passwords, in its database.
$agents = array('c.martin' => array('name' => 'Martin, Claire', 'role' => 'brigadier', 'unit' => 'Poste centre'));
session_save_path(sys_get_temp_dir());
session_start();

/** The sheets, in a file; a real module has its database. */
function fiches(?array $changed = null): array
{
    $path = sys_get_temp_dir() . '/openepm-exemple.json';
    if ($changed !== null) {
        file_put_contents($path, json_encode($changed), LOCK_EX);
    }
    $kept = json_decode((string) @file_get_contents($path), true);
    $first = array('MC-2026-00001' => 'Tapage, rue des Lices', 'MC-2026-00002' => 'Véhicule gênant');
    return is_array($kept) ? $kept : $first;
}

function html(string $text): string
{
    return htmlspecialchars($text, ENT_QUOTES, 'UTF-8');
}

function formulaire(string $acte, string $reference, string $champ, string $bouton): string
{
    $texte = $champ !== '' ? "<label>$champ <input name=texte required></label> " : '';
    return "<form method=post action='?acte=$acte&amp;fiche=" . html($reference) . "'>$texte<button>$bouton</button></form>";
}

/** Return a field of the form. */
function champ(string $nom): string
{
    return is_string($_POST[$nom] ?? null) ? trim($_POST[$nom]) : '';
}

// What each act asks for; a blank is no motive.
const EXIGE = array('consultation' => 'Motif', 'impression' => 'Motif', 'transmission' => 'Motif', 'recherche' => 'Mot',
    'creation' => 'Faits', 'modification' => 'Faits');
const SANS_FICHE = array('liste', 'recherche', 'creation', 'connexion', 'sortie');

$fiches = fiches();
$acte = is_string($_GET['acte'] ?? null) ? $_GET['acte'] : 'liste';
$reference = is_string($_GET['fiche'] ?? null) ? $_GET['fiche'] : '';
$texte = champ('texte');
$page = '';
$compte = (string) ($_SESSION['compte'] ?? '');
if ($compte !== '') {
    $journal->agent($compte, $agents[$compte]);
} else {
    $acte = 'connexion';
}

if (!in_array($acte, SANS_FICHE, true) && !isset($fiches[$reference])) {
    http_response_code(404);
    $acte = '';
    $page = '<p>Cette fiche n\'existe pas.</p>';
} elseif (!in_array($acte, array('liste', 'connexion'), true) && $_SERVER['REQUEST_METHOD'] !== 'POST') {
    http_response_code(405);
    $acte = '';
    $page = '<p>Revenez à la liste.</p>';
} elseif (isset(EXIGE[$acte]) && preg_match('/\S/u', $texte) !== 1) {
    http_response_code(400);
    $page = '<p>Il faut écrire : ' . EXIGE[$acte] . '.</p>' . formulaire($acte, $reference, EXIGE[$acte], 'Continuer');
    $acte = '';
}
switch ($acte) {
    case '':
        break;
    case 'connexion':
        $compte = champ('compte');
        if ($compte !== '' && isset($agents[$compte]) && champ('passe') === 'exemple') {
            $journal->agent($compte, $agents[$compte]);
            if ($journal->connexion()) {
                session_regenerate_id(true);
                $_SESSION['compte'] = $compte;
                header('Location: ?', true, 303);
                exit;
            }
            break;
        }
        if ($compte !== '') {
            $journal->agent($compte)->echecConnexion();
            http_response_code(403);
        }
        $page = '<form method=post action="?"><p>Compte c.martin, mot de passe exemple.</p><label>Compte '
            . '<input name=compte required></label> <label>Mot de passe <input name=passe type=password required></label> '
            . '<button>Entrer</button></form>';
        break;
    case 'sortie':
        if ($journal->deconnexion()) {
            $_SESSION = array();
            $page = '<p>À bientôt.</p>';
        }
        break;
    case 'liste':
        if ($journal->liste(count($fiches))) {
            foreach ($fiches as $nom => $faits) {
                $page .= '<h2>' . html($nom) . '</h2>' . formulaire('consultation', $nom, 'Motif', 'Ouvrir');
            }
            $page .= formulaire('recherche', '', 'Mot', 'Chercher') . formulaire('creation', '', 'Faits', 'Nouvelle fiche')
                . formulaire('sortie', '', '', 'Sortir');
        }
        break;
    case 'recherche':
        $trouves = array_filter($fiches, function (string $faits) use ($texte): bool {
            return stripos($faits, $texte) !== false;
        });
        if ($journal->recherche(count($trouves))) {  // how many, not what was looked for
            $page = '<p>' . html(implode(', ', array_keys($trouves)) ?: 'Rien.') . '</p>';
        }
        break;
    case 'creation':
        $derniere = max(array_keys($fiches + array('MC-2026-00000' => '')));
        $reference = sprintf('MC-2026-%05d', 1 + (int) substr($derniere, -5));
        if ($journal->creation($reference)) {
            fiches(array($reference => $texte) + $fiches);
            $page = '<p>Fiche ' . html($reference) . ' créée.</p>';
        }
        break;
    case 'consultation':
        if ($journal->consultation($reference, $texte)) {
            $page = '<h2>' . html($reference) . '</h2><p>' . html($fiches[$reference]) . '</p>'
                . formulaire('modification', $reference, 'Faits', 'Corriger')
                . formulaire('impression', $reference, 'Motif', 'Imprimer')
                . formulaire('transmission', $reference, 'Motif', 'Transmettre le procès-verbal au parquet')
                . formulaire('suppression', $reference, '', 'Supprimer');
        }
        break;
    case 'modification':
        if ($journal->modification($reference, array('fields' => array('faits')))) {
            fiches(array($reference => $texte) + $fiches);
            $page = '<p>Corrigée.</p>';
        }
        break;
    case 'impression':
        if ($journal->impression($reference, $texte)) {
            $page = '<pre>' . html($reference . "\n" . $fiches[$reference]) . '</pre>';
        }
        break;
    case 'transmission':
        $pv = 'PV-' . substr($reference, 3);
        $ecrits = array('category' => 'ecrits');
        if ($journal->creation($pv, $ecrits) && $journal->communication($pv, array('Parquet d\'Albi'), $texte, $ecrits)) {
            $page = '<p>Procès-verbal ' . html($pv) . ' transmis.</p>';
        }
        break;
    case 'suppression':
        if ($journal->suppression($reference)) {
            unset($fiches[$reference]);
            fiches($fiches);
            $page = '<p>Supprimée.</p>';
        }
        break;
    default:
        http_response_code(404);
        $page = '<p>Cet acte n\'existe pas.</p>';
}
if ($page === '') {
    http_response_code(503);
    $page = '<p>Cet accès ne peut être journalisé : rien n\'est montré, rien n\'est fait. Prévenez votre administrateur.</p>';
}
?>
<!doctype html>
<html lang="fr">
<meta charset="utf-8">
<title>Main courante (exemple)</title>
<h1><a href="?">Main courante</a></h1>
<?= $page ?>
