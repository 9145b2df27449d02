<?php

/* The people. All of them have the password of the run. */

require __DIR__ . '/config.php';

$people = [
    'grace' => ['Grace', 'Hopper', '7d3c1f6a-0b0e-4d51-9f7c-6a2f0c9e1a01', ['airflow_prod_admin', 'navy']],
    'edsger' => ['Edsger', 'Dijkstra', '7d3c1f6a-0b0e-4d51-9f7c-6a2f0c9e1a02', ['airflow_prod_viewer']],
    'alan' => ['Alan', 'Turing', '7d3c1f6a-0b0e-4d51-9f7c-6a2f0c9e1a03', ['bletchley']],
];

$config = ['people' => ['exampleauth:UserPass'], 'admin' => ['core:AdminPassword']];
foreach ($people as $uid => [$given_name, $surname, $entry_uuid, $groups]) {
    $config['people'][$uid . ':' . $settings['password']] = [
        'uid' => [$uid],
        'mail' => [$uid . '@peer.example'],
        'givenName' => [$given_name],
        'sn' => [$surname],
        'entryUUID' => [$entry_uuid],
        'groups' => $groups,
    ];
}
