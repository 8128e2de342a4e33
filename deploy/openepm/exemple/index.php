<?php
/**
 * Sample module: a main courante of a few lines, to show where the calls to the journal go.
 *
 *     OPENEPM_JOURNAL=/etc/openepm/journal.ini php -S 127.0.0.1:8480 -t deploy/openepm/exemple
 *
 * @license GPL-3.0-or-later
 */

declare(strict_types=1);

require __DIR__ . '/../OpenepmJournal.php';

$journal = OpenepmJournal::fromFile(getenv('OPENEPM_JOURNAL') ?: '/etc/openepm/journal.ini');
// A real module takes these from its session.
$journal->agent('c.martin', array('name' => 'Martin, Claire', 'role' => 'brigadier', 'unit' => 'Poste centre'));

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

$fiches = fiches();
$acte = (string) ($_GET['acte'] ?? 'liste');
$reference = (string) ($_GET['fiche'] ?? '');
$texte = trim((string) ($_POST['texte'] ?? ''));
$page = '';

if (!in_array($acte, array('liste', 'recherche', 'creation'), true) && !isset($fiches[$reference])) {
    http_response_code(404);
    $acte = 'absente';
    $page = '<p>Cette fiche n\'existe pas.</p>';
} elseif ($acte !== 'liste' && $_SERVER['REQUEST_METHOD'] !== 'POST') {
    http_response_code(405);
    $acte = 'absente';
}
switch ($acte) {
    case 'liste':
        foreach ($fiches as $nom => $faits) {
            $page .= '<h2>' . html($nom) . '</h2>' . formulaire('consultation', $nom, 'Motif', 'Ouvrir');
        }
        $page .= formulaire('recherche', '', 'Mot', 'Chercher') . formulaire('creation', '', 'Faits', 'Nouvelle fiche');
        $journal->liste(count($fiches));
        break;
    case 'recherche':
        $trouves = array_filter($fiches, function (string $faits) use ($texte): bool {
            return stripos($faits, $texte) !== false;
        });
        $page = '<p>' . html(implode(', ', array_keys($trouves))) . '</p>';
        $journal->recherche(count($trouves));  // how many, not what was looked for
        break;
    case 'creation':
        $derniere = max(array_keys($fiches + array('MC-2026-00000' => '')));
        $reference = sprintf('MC-2026-%05d', 1 + (int) substr($derniere, -5));
        fiches(array($reference => $texte) + $fiches);
        $page = '<p>Fiche ' . html($reference) . ' créée.</p>';
        $journal->creation($reference);
        break;
    case 'consultation':
        $page = '<h2>' . html($reference) . '</h2><p>' . html($fiches[$reference]) . '</p>'
            . formulaire('modification', $reference, 'Faits', 'Corriger')
            . formulaire('impression', $reference, 'Motif', 'Imprimer')
            . formulaire('transmission', $reference, 'Motif', 'Transmettre le procès-verbal au parquet')
            . formulaire('suppression', $reference, '', 'Supprimer');
        $journal->consultation($reference, $texte);
        break;
    case 'modification':
        fiches(array($reference => $texte) + $fiches);
        $page = '<p>Corrigée.</p>';
        $journal->modification($reference, array('fields' => array('faits')));
        break;
    case 'impression':
        $page = '<pre>' . html($reference . "\n" . $fiches[$reference]) . '</pre>';
        $journal->impression($reference, $texte);
        break;
    case 'transmission':
        $pv = 'PV-' . substr($reference, 3);
        $page = '<p>Procès-verbal ' . html($pv) . ' transmis.</p>';
        $journal->creation($pv, array('category' => 'ecrits'));
        $journal->communication($pv, array('Parquet d\'Albi'), $texte, array('category' => 'ecrits'));
        break;
    case 'suppression':
        unset($fiches[$reference]);
        fiches($fiches);
        $page = '<p>Supprimée.</p>';
        $journal->suppression($reference);
        break;
}
?>
<!doctype html>
<html lang="fr">
<meta charset="utf-8">
<title>Main courante (exemple)</title>
<h1><a href="?">Main courante</a></h1>
<?= $page ?>
